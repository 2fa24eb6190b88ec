"""The admin plane: shows a running edge over HTTP, and changes nothing. Loaded after READY."""
