"""`vssm-server check`: what would keep the service from working here, found before it is started, with advice."""
