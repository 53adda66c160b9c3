"""What the machine has: instruction sets, and the processors that a control group allows."""
