"""Settings, rows, bytes, tables, time and errors: everything that knows neither images nor models."""
