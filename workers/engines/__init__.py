"""How a step is taken: plain PyTorch, or DeepSpeed."""
