"""ONNX Runtime Web, which runs the networks in a visitor's browser: fetched by npm, verified, served from the folder.

One exact version and its checksum stand here, so that what a visitor's browser runs is known, and never comes from
another host. MIT licence, as the first lines of its scripts say.
"""

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # of the package
# Its build for the processor alone, 14 MB (3.7 MB compressed): others add the GPU and are twice as large.
FILES = {  # as they are called in the package and in the folder: many file servers do not know .mjs for a script
    "ort.wasm.min.mjs": "ort.wasm.min.js",
    "ort-wasm-simd-threaded.mjs": "ort-wasm-simd-threaded.js",
    "ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
}
PATIENCE = 600  # seconds for 33 MB


class RuntimeFetchError(RuntimeError):
    """The runtime cannot be had; the message says why, and the way out."""


def fetch_runtime(folder: Path) -> None:
    """Write the runtime's `FILES` to a folder, which is made.

    Raises:
        RuntimeFetchError: npm is not installed, cannot fetch the package, or fetched another one.
        OSError: the folder cannot be written to.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeFetchError("npm is needed to fetch ONNX Runtime Web: install Node.js, which has it")
    with tempfile.TemporaryDirectory() as place:
        # npm keeps what it has fetched: the next time no connection is needed.
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--pack-destination", place, "--silent", "--prefer-offline"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise RuntimeFetchError(f"{PACKAGE} {VERSION} did not come within {PATIENCE} s: try again") from error
        packages = list(Path(place).glob("*.tgz"))
        if done.returncode or len(packages) != 1:
            said = (done.stderr or done.stdout).strip()
            raise RuntimeFetchError(f"{PACKAGE} {VERSION} could not be fetched by npm: connect and try again. {said}")
        with open(packages[0], "rb") as file:
            found = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
        if found != SHA512:
            raise RuntimeFetchError(f"npm fetched a {PACKAGE} {VERSION} of sha512 {found}, not {SHA512}: do not use it")
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(packages[0]) as package:
            for packed, name in FILES.items():
                (folder / name).write_bytes(package.extractfile(f"package/dist/{packed}").read())
