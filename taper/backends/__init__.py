"""Who evaluates: backends know arrays and kernels, not ops or tensors."""
