"""What one operation does to a layer, in tensors."""
