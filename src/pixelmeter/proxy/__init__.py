"""The sidecar: an HTTP proxy in front of gateways that meters the image calls of programs in any language."""
