"""Features and embeddings to disk: worker processes, resume, quarantine, long recordings at bounded memory."""
