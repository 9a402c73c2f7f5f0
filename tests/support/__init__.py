"""What several tests share. No tests of its own."""
