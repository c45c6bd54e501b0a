"""torch.utils._pytree: functions of the leaves of nested lists, tuples, dicts and registered classes.

A tree is taken apart into its leaves and a TreeSpec, from which it can be put together again.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

_IsLeaf = Callable[[Any], bool] | None


class _Kind(NamedTuple):
    """How a class is taken apart: into (children, context); and put together from them."""

    flatten: Callable[[Any], tuple[list[Any], Any]]
    unflatten: Callable[[Iterable[Any], Any], Any]


class _NamedTuple:
    """Key of the kind of all named tuples."""


SUPPORTED_NODES: dict[type, _Kind] = {
    list: _Kind(lambda x: (list(x), None), lambda children, _: list(children)),
    tuple: _Kind(lambda x: (list(x), None), lambda children, _: tuple(children)),
    dict: _Kind(
        lambda x: (list(x.values()), list(x)),
        lambda children, keys: dict(zip(keys, children, strict=True)),
    ),
    OrderedDict: _Kind(
        lambda x: (list(x.values()), list(x)),
        lambda children, keys: OrderedDict(zip(keys, children, strict=True)),
    ),
    defaultdict: _Kind(
        lambda x: (list(x.values()), [x.default_factory, list(x)]),
        lambda children, c: defaultdict(c[0], zip(c[1], children, strict=True)),
    ),
    deque: _Kind(lambda x: (list(x), x.maxlen), lambda children, most: deque(children, most)),
    _NamedTuple: _Kind(lambda x: (list(x), type(x)), lambda children, cls: cls(*children)),
}


def register_pytree_node(
    cls: type,
    flatten_fn: Callable[[Any], tuple[list[Any], Any]],
    unflatten_fn: Callable[[Iterable[Any], Any], Any],
    **names: Any,
) -> None:
    """Makes instances of `cls` nodes: flatten_fn(x) gives (children, context).

    Names for serialization are accepted and not used.
    Raises: ValueError if the class is registered already.
    """
    if cls in SUPPORTED_NODES:
        raise ValueError(f"{cls} is already registered as pytree node.")
    SUPPORTED_NODES[cls] = _Kind(flatten_fn, unflatten_fn)


def _register_pytree_node(
    cls: type, flatten_fn: Any, unflatten_fn: Any, *texts: Any, **names: Any
) -> None:
    """The old name of register_pytree_node, which lets a class be registered again."""
    SUPPORTED_NODES[cls] = _Kind(flatten_fn, unflatten_fn)


def _kind_of(tree: Any) -> Any:
    """The key of the tree's kind; None for a leaf."""
    cls = type(tree)
    if cls in SUPPORTED_NODES:
        return cls
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return _NamedTuple
    return None


class TreeSpec:
    """The structure of a tree: the class of the root, its context, and the children's specs.

    A leaf has the type None.
    """

    __slots__ = ("children_specs", "context", "num_leaves", "num_nodes", "type")

    def __init__(self, type: Any, context: Any, children_specs: list[TreeSpec]) -> None:
        self.type = type
        self.context = context
        self.children_specs = children_specs
        self.num_nodes: int = 1 + sum(child.num_nodes for child in children_specs)
        self.num_leaves: int = (
            1 if type is None else sum(child.num_leaves for child in children_specs)
        )

    def is_leaf(self) -> bool:
        """Whether the tree is one leaf."""
        return self.type is None

    @property
    def num_children(self) -> int:
        """How many children the root has."""
        return len(self.children_specs)

    def children(self) -> list[TreeSpec]:
        """The specs of the root's children."""
        return list(self.children_specs)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TreeSpec)
            and self.type is other.type
            and self.context == other.context
            and self.children_specs == other.children_specs
        )

    def __hash__(self) -> int:
        return hash((self.type, self.num_nodes, self.num_leaves))

    def __repr__(self) -> str:
        if self.type is None:
            return "*"
        name = "namedtuple" if self.type is _NamedTuple else self.type.__name__
        context = self.context.__name__ if self.type is _NamedTuple else repr(self.context)
        children = ",\n".join(repr(child) for child in self.children_specs)
        return f"TreeSpec({name}, {context}, [{children}])".replace("\n", "\n  ")

    def unflatten(self, leaves: Iterable[Any]) -> Any:
        """The tree with these leaves. Raises: ValueError if there are more or fewer."""
        given = list(leaves)
        if len(given) != self.num_leaves:
            raise ValueError(
                f"treespec.unflatten(leaves): `leaves` has length {len(given)} but the spec refers "
                f"to a pytree that holds {self.num_leaves} items ({self})."
            )
        return self._build(iter(given))

    def _build(self, leaves: Iterator[Any]) -> Any:
        if self.type is None:
            return next(leaves)
        children = [child._build(leaves) for child in self.children_specs]
        return SUPPORTED_NODES[self.type].unflatten(children, self.context)

    def flatten_up_to(self, tree: Any) -> list[Any]:
        """The subtrees of `tree` where this spec has leaves.

        Raises: ValueError if the tree has another structure.
        """
        if self.type is None:
            return [tree]
        kind = _kind_of(tree)
        if kind is not self.type:
            raise ValueError(f"Node type mismatch; expected {self.type!r}, but got {type(tree)!r}.")
        children, context = SUPPORTED_NODES[kind].flatten(tree)
        if len(children) != len(self.children_specs):
            raise ValueError(
                f"Node arity mismatch; expected {len(self.children_specs)}, but got "
                f"{len(children)}."
            )
        if kind in (dict, OrderedDict) and context != self.context:
            if set(context) != set(self.context):
                raise ValueError(
                    f"Node keys mismatch; missing key(s): {set(self.context) - set(context)}, "
                    f"additional key(s): {set(context) - set(self.context)}."
                )
            children = [tree[key] for key in self.context]
        pairs = zip(self.children_specs, children, strict=True)
        return [part for child, subtree in pairs for part in child.flatten_up_to(subtree)]


def LeafSpec() -> TreeSpec:
    """The spec of a leaf."""
    return TreeSpec(None, None, [])


_LEAF = LeafSpec()


def tree_is_leaf(tree: Any, is_leaf: _IsLeaf = None) -> bool:
    """Whether the tree is a leaf, by itself or because `is_leaf` says so."""
    return (is_leaf is not None and is_leaf(tree)) or _kind_of(tree) is None


def tree_flatten(tree: Any, is_leaf: _IsLeaf = None) -> tuple[list[Any], TreeSpec]:
    """The leaves, from left to right, and the structure."""
    leaves: list[Any] = []

    def walk(tree: Any) -> TreeSpec:
        kind = None if is_leaf is not None and is_leaf(tree) else _kind_of(tree)
        if kind is None:
            leaves.append(tree)
            return _LEAF
        children, context = SUPPORTED_NODES[kind].flatten(tree)
        return TreeSpec(kind, context, [walk(child) for child in children])

    return leaves, walk(tree)


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> Any:
    """The tree of this structure with these leaves."""
    if not isinstance(treespec, TreeSpec):
        raise TypeError(
            "tree_unflatten(leaves, treespec): Expected `treespec` to be instance of TreeSpec but "
            f"got item of type {type(treespec)}."
        )
    return treespec.unflatten(leaves)


def tree_iter(tree: Any, is_leaf: _IsLeaf = None) -> Iterator[Any]:
    """The leaves, from left to right."""
    if tree_is_leaf(tree, is_leaf):
        yield tree
        return
    for child in SUPPORTED_NODES[_kind_of(tree)].flatten(tree)[0]:
        yield from tree_iter(child, is_leaf)


def tree_leaves(tree: Any, is_leaf: _IsLeaf = None) -> list[Any]:
    """The leaves, from left to right."""
    return list(tree_iter(tree, is_leaf))


def tree_structure(tree: Any, is_leaf: _IsLeaf = None) -> TreeSpec:
    """The structure."""
    return tree_flatten(tree, is_leaf)[1]


def tree_map(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: _IsLeaf = None) -> Any:
    """The tree of func(leaf, ...), with the parts of `rests` at the same places.

    Raises: ValueError if the trees differ in structure.
    """
    leaves, spec = tree_flatten(tree, is_leaf)
    columns = [leaves, *(spec.flatten_up_to(rest) for rest in rests)]
    return spec.unflatten(map(func, *columns))


def tree_map_(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: _IsLeaf = None) -> Any:
    """Calls func(leaf, ...) for each leaf and returns the tree itself."""
    tree_map(func, tree, *rests, is_leaf=is_leaf)
    return tree


def _chosen(which: Any) -> Callable[[Any], bool]:
    """A test of a leaf, from a class, several, or the test itself."""
    if isinstance(which, type) or not callable(which):
        return lambda leaf: isinstance(leaf, which)
    return which


def tree_map_only(
    type_or_types_or_pred: Any, /, func: Callable[[Any], Any], tree: Any, is_leaf: _IsLeaf = None
) -> Any:
    """The tree with func(leaf) for the leaves of some classes; the others stay."""
    test = _chosen(type_or_types_or_pred)
    return tree_map(lambda leaf: func(leaf) if test(leaf) else leaf, tree, is_leaf=is_leaf)


def tree_map_only_(
    type_or_types_or_pred: Any, /, func: Callable[[Any], Any], tree: Any, is_leaf: _IsLeaf = None
) -> Any:
    """Calls func(leaf) for the leaves of some classes and returns the tree itself."""
    tree_map_only(type_or_types_or_pred, func, tree, is_leaf)
    return tree


def tree_all(pred: Callable[[Any], bool], tree: Any, is_leaf: _IsLeaf = None) -> bool:
    """Whether all leaves pass."""
    return all(map(pred, tree_iter(tree, is_leaf)))


def tree_any(pred: Callable[[Any], bool], tree: Any, is_leaf: _IsLeaf = None) -> bool:
    """Whether any leaf passes."""
    return any(map(pred, tree_iter(tree, is_leaf)))


def tree_all_only(
    type_or_types: Any, /, pred: Callable[[Any], bool], tree: Any, is_leaf: _IsLeaf = None
) -> bool:
    """Whether all leaves of some classes pass."""
    test = _chosen(type_or_types)
    return all(pred(leaf) for leaf in tree_iter(tree, is_leaf) if test(leaf))


def tree_any_only(
    type_or_types: Any, /, pred: Callable[[Any], bool], tree: Any, is_leaf: _IsLeaf = None
) -> bool:
    """Whether any leaf of some classes passes."""
    test = _chosen(type_or_types)
    return any(pred(leaf) for leaf in tree_iter(tree, is_leaf) if test(leaf))


def _broadcast_to_and_flatten(
    tree: Any, treespec: TreeSpec, is_leaf: _IsLeaf = None
) -> list[Any] | None:
    """The leaves of `tree` spread over the leaves of a larger structure; None if it is no larger."""
    if tree_is_leaf(tree, is_leaf):
        return [tree] * treespec.num_leaves
    kind = _kind_of(tree)
    if kind is not treespec.type:
        return None
    children, context = SUPPORTED_NODES[kind].flatten(tree)
    if len(children) != len(treespec.children_specs) or context != treespec.context:
        return None
    result: list[Any] = []
    for child, spec in zip(children, treespec.children_specs, strict=True):
        part = _broadcast_to_and_flatten(child, spec, is_leaf)
        if part is None:
            return None
        result += part
    return result
