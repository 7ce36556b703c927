"""Object stores: copies of studies and stages by URL."""
