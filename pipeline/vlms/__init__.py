"""Vision language models, one file each; a name is a module."""
