"""What a network costs: parameters, multiply-accumulates, file, and time in several runtimes."""
