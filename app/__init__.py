"""The program: command line and composition. The only place that builds source, windows, captioner and page."""
