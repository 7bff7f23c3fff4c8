"""Windows as Evidently draws them: reports, snapshots, a workspace and its own pages."""
