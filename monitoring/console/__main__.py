"""`python -m monitoring.console`: serve the console of the project in $KEDGE_ROOT, or in the present folder."""

import os
import sys
from pathlib import Path

import uvicorn

from infra import logs
from infra.database import open_database
from infra.errors import UserError
from infra.objects import open_objects
from infra.settings import load
from monitoring.console.app import application


def main() -> int:
    """Serve until stopped; exit code 1 with one clear message where that cannot begin."""
    try:
        settings = load(Path(os.environ.get("KEDGE_ROOT") or Path.cwd()))
        logs.configure("console", settings.storage.home)
        app = application(settings, open_database(settings.storage.database), open_objects(settings.storage))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    uvicorn.run(app, host=settings.console.host, port=settings.console.port, access_log=False, log_config=None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
