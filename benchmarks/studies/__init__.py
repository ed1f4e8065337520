"""Questions of their own: threshold search, certification, planted cases, clip semantics, reruns, own cost."""
