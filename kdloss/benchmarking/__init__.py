"""What networks cost: parameters, multiply-accumulates, file, and time in several runtimes; and a folder of faces."""
