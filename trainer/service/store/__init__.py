"""Where are runs kept? In SQLite or Postgres, behind one class."""
