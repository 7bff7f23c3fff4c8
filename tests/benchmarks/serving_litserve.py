"""LitServe, batching as its documentation has it: `python -m tests.benchmarks.serving_litserve PORT`."""

import os
import sys
from typing import Any

import litserve
from fastapi import UploadFile

from tests.benchmarks.serving_rivals import MOST_BATCH, WORKERS, Network, Square


class Classify(litserve.LitAPI):  # type: ignore[misc, name-defined]  # it lives in an environment of its own
    def setup(self, device: str) -> None:
        self.network = Network()

    def decode_request(self, request: UploadFile) -> Square:
        return self.network.square(request.file.read())

    def batch(self, inputs: list[Square]) -> list[Square]:
        return inputs

    def predict(self, x: list[Square]) -> list[dict[str, Any]]:
        return self.network.answers(x)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    api = Classify(max_batch_size=MOST_BATCH, batch_timeout=0.002, api_path="/predict")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=int(os.environ[WORKERS]))
    server.run("127.0.0.1", int(sys.argv[1]), generate_client_file=False, log_level="warning", access_log=False)
