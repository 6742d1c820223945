"""The `jingwei` command; each subcommand is a module with `add_arguments(parser)` and `run(options)`."""
