"""How a step is taken: plain PyTorch for one CPU process, DeepSpeed for GPUs; held equal by a test."""
