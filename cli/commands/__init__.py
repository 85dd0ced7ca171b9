"""One file a command: `arguments(parser)` and `run(args)`, which gives the exit code."""
