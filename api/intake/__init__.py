"""What comes in over HTTP on its way to the scoring flow: grouped, checked, and handed over."""
