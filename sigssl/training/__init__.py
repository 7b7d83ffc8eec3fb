"""The Lightning glue: task, data module, callbacks, checkpoints, optimisers."""
