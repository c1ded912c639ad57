"""Makes what a release has of the stack: zips of functions, a template that takes them from a bucket, and the command line as a
container image.

    package.py template TEMPLATE OUT        template.yaml as deploy.yaml, whose CodeUris are parameters
    package.py zip BOOTSTRAP OUT            a function's program as a Lambda zip, the same bytes each time
    package.py image VERSION AMD64 ARM64 AUTHORITIES OUT    the programs of two processors with certificate authorities as an image, an
                                            archive of an OCI layout
    package.py check OUT                    whether the template and the zips of a folder belong together
    package.py test                         tests of this file

Needs nothing but Python 3.11.
"""

import gzip
import hashlib
import io
import json
import os
import re
import sys
import tarfile
import tempfile
import unittest
import zipfile
from pathlib import Path

PARAMETERS = """\
  CodeBucket:
    Type: String
    Description: The bucket, in the Region of the stack, with the zips of the functions.
  CodePrefix:
    Type: String
    Default: ""
    Description: What the keys of the zips begin with, as ecr-steward/0.1.0/.
"""

ARCHITECTURES = ("arm64", "x86_64")

# What is deployed by itself, from a template that takes its zip from a bucket as it is.
REPORTER = ("usage-report", "infra/usage-reporter.yaml", "usage-reporter.yaml")


def packaged(template: str, definition_of) -> tuple[str, list[str]]:
    """The template with its code in a bucket, and the names of the functions. `definition_of` gives the text of a file."""
    lines: list[str] = []
    functions: list[str] = []
    binary = None
    for number, line in enumerate(template.splitlines(), 1):
        indentation = line[: len(line) - len(line.lstrip())]
        key, _, value = line.strip().partition(": ")
        if key == "Binary":
            if binary is not None:
                raise ValueError(f"line {number}: there is no `CodeUri: .` for {binary} before this")
            binary = value
        elif key == "CodeUri":
            if value != "." or binary is None:
                raise ValueError(f"line {number}: no `Binary:` comes before `CodeUri: {value}`")
            functions.append(binary)
            name = f"{binary}-${{Architecture}}.zip"
            lines += [
                f"{indentation}CodeUri:",
                f"{indentation}  Bucket: !Ref CodeBucket",
                f"{indentation}  Key: !Sub ${{CodePrefix}}{name}",
            ]
            binary = None
            continue
        elif key == "DefinitionUri":
            lines.append(f"{indentation}Definition:")
            lines += [f"{indentation}  {text}" for text in definition_of(value).splitlines()]
            continue
        lines.append(line)
        if line == "Parameters:":
            lines += PARAMETERS.splitlines()
    if binary is not None:
        raise ValueError(f"there is no `CodeUri: .` for {binary}")
    if not functions or "Parameters:" not in lines:
        raise ValueError("it is no template of this project")
    return "\n".join(lines) + "\n", functions


def pack(bootstrap: bytes) -> bytes:
    """A program as the zip that AWS Lambda takes: without times, so that the same program is the same zip."""
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            entry = zipfile.ZipInfo("bootstrap", date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o100755 << 16
            entry.create_system = 3
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, bootstrap)
        file.seek(0)
        return file.read()


# Where programs of Linux look for certificate authorities.
AUTHORITIES = "etc/ssl/certs/ca-certificates.crt"


def archive(files: list[tuple[str, bytes, int]]) -> bytes:
    """Files as a tar archive, behind the folders that they are in: without times and owners, so that the same files are the same
    archive."""
    target = io.BytesIO()
    folders: set[str] = set()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content, mode in files:
            for folder in reversed(Path(name).parents):
                if str(folder) not in ("", ".", *folders):
                    folders.add(str(folder))
                    entry = tarfile.TarInfo(str(folder))
                    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(entry)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = mode
            tar.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def image(version: str, programs: dict[str, bytes], authorities: bytes) -> bytes:
    """Static programs, by processor, as an image with nothing else in it but certificate authorities: the archive of an OCI layout, as
    `skopeo copy --all` and `crane push` take it. It is what infra/usage-reporter/kubernetes/Dockerfile makes."""
    blobs: dict[str, bytes] = {}

    def blob(media_type: str, content: bytes) -> dict:
        digest = hashlib.sha256(content).hexdigest()
        blobs[digest] = content
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def document(media_type: str, value: dict) -> dict:
        return blob(media_type, json.dumps(value, sort_keys=True, separators=(",", ":")).encode())

    manifests = []
    for architecture, program in sorted(programs.items()):
        layer = archive([("ecr-steward", program, 0o755), (AUTHORITIES, authorities, 0o644)])
        config = document(
            "application/vnd.oci.image.config.v1+json",
            {
                "architecture": architecture,
                "os": "linux",
                "config": {
                    "User": "65532:65532",
                    "Entrypoint": ["/ecr-steward"],
                    "Labels": {"org.opencontainers.image.version": version, "org.opencontainers.image.licenses": "Apache-2.0"},
                },
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
            },
        )
        compressed = blob("application/vnd.oci.image.layer.v1.tar+gzip", gzip.compress(layer, 9, mtime=0))
        manifest = document(
            "application/vnd.oci.image.manifest.v1+json",
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config,
                "layers": [compressed],
            },
        )
        manifests.append(manifest | {"platform": {"architecture": architecture, "os": "linux"}})
    media_type = "application/vnd.oci.image.index.v1+json"
    index = document(media_type, {"schemaVersion": 2, "mediaType": media_type, "manifests": manifests})
    named = index | {"annotations": {"org.opencontainers.image.ref.name": version}}
    layout = [
        ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}', 0o644),
        ("index.json", json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": [named]}).encode(), 0o644),
    ]
    return archive(layout + [(f"blobs/sha256/{digest}", content, 0o644) for digest, content in sorted(blobs.items())])


def missing(folder: Path) -> list[str]:
    """The zips that the template of a folder takes, and the folder has not."""
    template = (folder / "deploy.yaml").read_text()
    names = re.findall(r"Key: !Sub \$\{CodePrefix\}(\S+)-\$\{Architecture\}\.zip", template)
    if not names:
        raise ValueError("deploy.yaml takes no zip")
    wanted = [f"{name}-{architecture}.zip" for name in [*names, REPORTER[0]] for architecture in ARCHITECTURES]
    return [name for name in [*wanted, REPORTER[2]] if not (folder / name).is_file()]


class Tests(unittest.TestCase):
    TEMPLATE = """\
Parameters:
  Architecture:
    Type: String
Resources:
  One:
    Metadata:
      BuildProperties:
        Binary: image-build
    Properties:
      CodeUri: .
  Machine:
    Properties:
      DefinitionUri: infra/machine.json
"""

    def test_the_code_of_every_function_is_in_the_bucket(self):
        template, functions = packaged(self.TEMPLATE, lambda path: '{"x": 1}' if path == "infra/machine.json" else "")
        self.assertEqual(functions, ["image-build"])
        self.assertIn("        Key: !Sub ${CodePrefix}image-build-${Architecture}.zip\n", template)
        self.assertIn('      Definition:\n        {"x": 1}\n', template)
        self.assertIn("Parameters:\n  CodeBucket:\n", template)
        self.assertNotIn("CodeUri: .", template)

    def test_a_template_that_is_not_understood_is_refused(self):
        for wrong in ("", "Parameters:\n", self.TEMPLATE.replace("CodeUri: .\n", ""), self.TEMPLATE.replace("Binary", "Name")):
            with self.assertRaises(ValueError):
                packaged(wrong, lambda _: "{}")

    def test_the_real_template_is_packaged(self):
        root = Path(__file__).resolve().parents[2]
        template, functions = packaged((root / "template.yaml").read_text(), lambda path: (root / path).read_text())
        self.assertEqual(sorted([*functions, REPORTER[0]]), sorted(entry.name for entry in (root / "functions").iterdir()))
        self.assertIn(f"${{CodePrefix}}{REPORTER[0]}-${{Architecture}}.zip", (root / REPORTER[1]).read_text())
        self.assertNotIn("DefinitionUri", template)

    def test_the_same_program_is_the_same_zip_and_can_be_run(self):
        self.assertEqual(pack(b"x" * 1000), pack(b"x" * 1000))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.zip"
            path.write_bytes(pack(b"program"))
            with zipfile.ZipFile(path) as archive:
                entry = archive.getinfo("bootstrap")
                self.assertEqual(entry.external_attr >> 16 & 0o777, 0o755)
                self.assertEqual(archive.read(entry), b"program")

    def test_an_image_has_the_program_of_each_processor_and_every_digest_fits(self):
        programs = {"amd64": b"program of one", "arm64": b"program of another"}
        made = image("0.1.0", programs, b"authorities")
        self.assertEqual(made, image("0.1.0", programs, b"authorities"))
        with tarfile.open(fileobj=io.BytesIO(made)) as tar:
            files = {entry.name: tar.extractfile(entry).read() for entry in tar.getmembers() if entry.isfile()}

        def document(descriptor: dict) -> bytes:
            content = files["blobs/" + descriptor["digest"].replace(":", "/")]
            self.assertEqual(hashlib.sha256(content).hexdigest(), descriptor["digest"].removeprefix("sha256:"))
            self.assertEqual(len(content), descriptor["size"])
            return content

        (named,) = json.loads(files["index.json"])["manifests"]
        found = {}
        for descriptor in json.loads(document(named))["manifests"]:
            manifest = json.loads(document(descriptor))
            config = json.loads(document(manifest["config"]))
            self.assertEqual(config["architecture"], descriptor["platform"]["architecture"])
            self.assertEqual(config["config"]["User"], "65532:65532")
            (layer,) = manifest["layers"]
            unpacked = gzip.decompress(document(layer))
            self.assertEqual(config["rootfs"]["diff_ids"], [f"sha256:{hashlib.sha256(unpacked).hexdigest()}"])
            with tarfile.open(fileobj=io.BytesIO(unpacked)) as tar:
                entries = [(entry.name, entry.mode) for entry in tar.getmembers()]
                folders = [(folder, 0o755) for folder in ("etc", "etc/ssl", "etc/ssl/certs")]
                self.assertEqual(entries, [("ecr-steward", 0o755), *folders, (AUTHORITIES, 0o644)])
                self.assertEqual(tar.extractfile(AUTHORITIES).read(), b"authorities")
                found[config["architecture"]] = tar.extractfile("ecr-steward").read()
        self.assertEqual(found, programs)

    def test_a_zip_that_is_not_there_is_told(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            (folder / "deploy.yaml").write_text(packaged(self.TEMPLATE, lambda _: "{}")[0])
            (folder / "image-build-arm64.zip").write_bytes(b"")
            for architecture in ARCHITECTURES:
                (folder / f"{REPORTER[0]}-{architecture}.zip").write_bytes(b"")
            self.assertEqual(missing(folder), ["image-build-x86_64.zip", REPORTER[2]])


def main(arguments: list[str]) -> int:
    match arguments:
        case ["template", source, target]:
            root = Path(source).resolve().parent
            template, functions = packaged(Path(source).read_text(), lambda path: (root / path).read_text())
            Path(target).write_text(template)
            print(f"{target}: {len(functions)} functions")
        case ["zip", source, target]:
            Path(target).write_bytes(pack(Path(source).read_bytes()))
        case ["image", version, amd64, arm64, authorities, target]:
            programs = {"amd64": Path(amd64).read_bytes(), "arm64": Path(arm64).read_bytes()}
            Path(target).write_bytes(image(version, programs, Path(authorities).read_bytes()))
        case ["check", folder]:
            absent = missing(Path(folder))
            if absent:
                print(f"{folder}: there is no {', no '.join(absent)}", file=sys.stderr)
                return 1
        case ["test"]:
            result = unittest.TextTestRunner(verbosity=1).run(unittest.defaultTestLoader.loadTestsFromTestCase(Tests))
            return 0 if result.wasSuccessful() else 1
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main(sys.argv[1:]))
