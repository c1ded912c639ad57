"""Takes the container image of a release apart as a container runtime does, and runs it as a pod of Amazon EKS.

    try_image.py IMAGE VERSION        the archive of an OCI layout; the program of this machine's processor is run

Everything is compared with its digest, and unpacked into a folder that the program gets as its root, with the user, the entry point and
the environment of the image and nothing else: no /proc, no /dev, no resolver. The cluster and AWS are stubs on the loopback interface:
an API server behind TLS with a certificate authority of its own, and STS and S3, which give credentials for the token of the service
account and take the list. Needs Python 3.11, openssl, and root or user namespaces.
"""

import gzip
import hashlib
import http.server
import io
import json
import os
import platform
import shutil
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading
from pathlib import Path

# By the machine: the architecture as OCI names it, and the number that ELF has for it.
ARCHITECTURES = {"x86_64": ("amd64", 62), "aarch64": ("arm64", 183)}
TOKEN = "token-of-the-service-account"
REFERENCE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop/web"
DIGEST = "sha256:" + "ab" * 32
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"


def need(condition: object, problem: str) -> None:
    if not condition:
        raise SystemExit(f"try_image.py: {problem}")


class Layout:
    """An image as a registry has it: blobs by their digests."""

    def __init__(self, path: Path):
        with tarfile.open(path) as tar:
            self.files = {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}
        need(json.loads(self.files["oci-layout"])["imageLayoutVersion"] == "1.0.0", "it is no OCI layout")

    def blob(self, descriptor: dict) -> bytes:
        algorithm, _, digest = descriptor["digest"].partition(":")
        content = self.files[f"blobs/{algorithm}/{digest}"]
        need(algorithm == "sha256" and hashlib.sha256(content).hexdigest() == digest, f"{descriptor['digest']} has other content")
        need(len(content) == descriptor["size"], f"{descriptor['digest']} has another size")
        return content

    def images(self, version: str) -> dict[str, tuple[dict, list[bytes]]]:
        """By architecture: the configuration, and the layers as they are unpacked."""
        (named,) = json.loads(self.files["index.json"])["manifests"]
        need(named["annotations"]["org.opencontainers.image.ref.name"] == version, f"it is not named {version}")
        images = {}
        for descriptor in json.loads(self.blob(named))["manifests"]:
            manifest = json.loads(self.blob(descriptor))
            config = json.loads(self.blob(manifest["config"]))
            layers = [gzip.decompress(self.blob(layer)) for layer in manifest["layers"]]
            found = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
            need(config["rootfs"]["diff_ids"] == found, "the layers are not those of the configuration")
            need(config["os"] == descriptor["platform"]["os"] == "linux", "it is not for Linux")
            need(config["architecture"] == descriptor["platform"]["architecture"], "it is for another processor than it says")
            images[config["architecture"]] = (config, layers)
        return images


def unpack(layers: list[bytes], root: Path) -> None:
    for layer in layers:
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            for entry in tar:
                need(entry.isfile() or entry.isdir(), f"{entry.name} is neither a file nor a folder")
                need(not entry.name.startswith("/") and ".." not in Path(entry.name).parts, f"{entry.name} leaves the root")
                need((entry.uid, entry.gid) == (0, 0), f"{entry.name} is not root's")
                need(not entry.mode & 0o6022, f"{entry.name} may be changed, or changes who runs it")
            tar.extractall(root, filter="tar")


def is_static(program: bytes, machine: int) -> bool:
    """Whether it is a program for this processor that needs no other file: no segment names an interpreter."""
    number = lambda at, size: int.from_bytes(program[at : at + size], "little")
    if program[:6] != b"\x7fELF\x02\x01" or number(18, 2) != machine:
        return False
    table, size, count = number(32, 8), number(54, 2), number(56, 2)
    return all(number(table + place * size, 4) != 3 for place in range(count))


def certificate(folder: Path) -> tuple[Path, Path]:
    """An authority of its own, as every cluster has one, that is the server's certificate as well."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=cluster", "-keyout", key, "-out", cert]
        + ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"],
        check=True,
        capture_output=True,
    )
    return key, cert


class Cluster(http.server.BaseHTTPRequestHandler):
    """The API of a cluster with one pod."""

    protocol_version = "HTTP/1.1"
    KINDS = {
        "": ["pods", "podtemplates", "replicationcontrollers"],
        "apps": ["controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets"],
        "batch": ["cronjobs", "jobs"],
    }
    POD = {
        "metadata": {"namespace": "shop", "name": "web-1"},
        "spec": {"containers": [{"name": "web", "image": f"{REFERENCE}:v1"}]},
        "status": {"containerStatuses": [{"name": "web", "image": f"{REFERENCE}:v1", "imageID": f"{REFERENCE}@{DIGEST}"}]},
    }

    def do_GET(self):
        path = [part for part in self.path.partition("?")[0].split("/") if part]
        match path:
            case _ if self.headers["Authorization"] != f"Bearer {TOKEN}":
                self.answer({"kind": "Status", "status": "Failure", "code": 401, "message": "Unauthorized"}, 401)
            case ["apis"]:
                versions = [{"groupVersion": f"{group}/v1", "version": "v1"} for group in ("apps", "batch")]
                groups = [{"name": of["groupVersion"][:-3], "versions": [of], "preferredVersion": of} for of in versions]
                self.answer({"kind": "APIGroupList", "groups": groups})
            case ["api", "v1"]:
                self.answer(self.kinds(""))
            case ["apis", group, "v1"]:
                self.answer(self.kinds(group))
            case [*_, "pods"]:
                self.answer({"kind": "PodList", "metadata": {}, "items": [self.POD]})
            case ["api", "v1", _] | ["apis", _, "v1", _]:
                self.answer({"kind": "List", "metadata": {}, "items": []})
            case _:
                self.answer({"kind": "Status", "status": "Failure", "code": 404, "message": "not found"}, 404)

    def kinds(self, group: str) -> dict:
        kind = lambda name: {"name": name, "singularName": "", "namespaced": True, "kind": name[:-1].title(), "verbs": ["list"]}
        version = f"{group}/v1" if group else "v1"
        return {"kind": "APIResourceList", "groupVersion": version, "resources": [kind(name) for name in self.KINDS[group]]}

    def answer(self, body: dict, status: int = 200):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Aws(http.server.BaseHTTPRequestHandler):
    """STS, which knows the token of the service account, and S3, which takes objects."""

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes] = {}

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if "Action=AssumeRoleWithWebIdentity" in body and f"WebIdentityToken={TOKEN}" in body:
            self.answer(
                "AssumeRoleWithWebIdentity",
                "<Credentials><AccessKeyId>AKIAPOD</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>session"
                "</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser><Arn>"
                "arn:aws:sts::123456789012:assumed-role/usage/pod</Arn><AssumedRoleId>AROA:pod</AssumedRoleId></AssumedRoleUser>",
            )
        elif "Action=GetCallerIdentity" in body and "Credential=AKIAPOD/" in self.headers["Authorization"]:
            self.answer(
                "GetCallerIdentity",
                "<Arn>arn:aws:sts::123456789012:assumed-role/usage/pod</Arn><UserId>AROA:pod</UserId><Account>123456789012</Account>",
            )
        else:
            self.finish_with(403, b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>")

    def do_PUT(self):
        self.objects[self.path.partition("?")[0]] = self.rfile.read(int(self.headers["Content-Length"]))
        self.finish_with(200, b"")

    def answer(self, name: str, result: str):
        text = f'<{name}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{name}Result>{result}</{name}Result></{name}Response>'
        self.finish_with(200, text.encode())

    def finish_with(self, status: int, body: bytes):
        self.send_response(status)
        self.send_header("Content-Type", "text/xml")
        self.send_header("ETag", '"etag"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve(handler, context: ssl.SSLContext | None = None) -> int:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def container(root: Path, config: dict, arguments: list[str], more: dict[str, str]) -> subprocess.CompletedProcess:
    """Runs the entry point in a root of its own, as the user of the image."""
    user, _, group = config["config"]["User"].partition(":")
    environment = dict(variable.split("=", 1) for variable in config["config"].get("Env", [])) | more
    command = [*config["config"]["Entrypoint"], *arguments]
    if os.geteuid() == 0:

        def enter():
            os.chroot(root)
            os.chdir("/")
            os.setgroups([])
            os.setgid(int(group))
            os.setuid(int(user))

        return subprocess.run(command, env=environment, preexec_fn=enter, capture_output=True, text=True, timeout=120)
    namespace = ["unshare", "--user", f"--map-user={user}", f"--map-group={group}", f"--root={root}", "--wd=/"]
    return subprocess.run([*namespace, *command], env=environment, capture_output=True, text=True, timeout=120)


def succeeded(ran: subprocess.CompletedProcess, what: str) -> str:
    need(ran.returncode == 0, f"{what}: exit code {ran.returncode}\n{ran.stdout}{ran.stderr}")
    return ran.stdout


def run(image: Path, version: str) -> None:
    images = Layout(image).images(version)
    need(sorted(images) == sorted(name for name, _ in ARCHITECTURES.values()), f"it is for {', '.join(images)}")
    for architecture, machine in ARCHITECTURES.values():
        config, layers = images[architecture]
        with tempfile.TemporaryDirectory() as root:
            unpack(layers, Path(root))
            entry, *rest = config["config"]["Entrypoint"]
            need(entry.startswith("/") and not rest and not config["config"].get("Cmd"), f"its entry point is {entry}")
            program = (Path(root) / entry[1:]).read_bytes()
            need(is_static(program, machine), f"{entry} is no static program for {architecture}")
            user, _, group = config["config"]["User"].partition(":")
            need(user.isdigit() and group.isdigit() and 0 not in (int(user), int(group)), "Kubernetes cannot know that it is not root")
            authorities = (Path(root) / CERTIFICATES).read_text().count("BEGIN CERTIFICATE")
            need(authorities > 50, f"{CERTIFICATES} has {authorities} certificates")
    config, layers = images[ARCHITECTURES[platform.machine()][0]]
    folder = Path(tempfile.mkdtemp())
    try:
        in_pod(folder, config, layers, version)
    finally:
        shutil.rmtree(folder)
    print(f"{image}: the program of a pod read its cluster and wrote its list")


def in_pod(folder: Path, config: dict, layers: list[bytes], version: str) -> None:
    root = folder / "root"
    root.mkdir(mode=0o755)
    folder.chmod(0o755)
    unpack(layers, root)
    need(succeeded(container(root, config, ["--version"], {}), "--version").strip().endswith(version), f"it is not {version}")
    need("--kubernetes" in succeeded(container(root, config, ["in-use", "--help"], {}), "--help"), "it reads no clusters")
    # What Kubernetes and EKS mount, and put into the environment.
    key, cert = certificate(folder)
    account = root / "var/run/secrets/kubernetes.io/serviceaccount"
    identity = root / "var/run/secrets/eks.amazonaws.com/serviceaccount"
    for mounted in (account, identity):
        mounted.mkdir(parents=True)
        (mounted / "token").write_text(TOKEN)
    shutil.copy(cert, account / "ca.crt")
    (account / "namespace").write_text("ecr-steward")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    cluster, aws = serve(Cluster, context), serve(Aws)
    pod = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME": "usage-report-1",
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(cluster),
        "KUBERNETES_PORT": f"tcp://127.0.0.1:{cluster}",
        "AWS_REGION": "eu-west-1",
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/usage",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/secrets/eks.amazonaws.com/serviceaccount/token",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{aws}",
    }
    printed = json.loads(succeeded(container(root, config, ["in-use", "--kubernetes"], pod), "in-use --kubernetes"))
    wanted = [f"{REFERENCE}:v1@{DIGEST}", f"{REFERENCE}@{DIGEST}", f"{REFERENCE}:v1"]
    found = [entry["imageUri"] for entry in printed]
    need(found and set(found) <= set(wanted) and any(DIGEST in uri for uri in found), f"it found {found}")
    write = ["in-use", "--kubernetes", "--write", "s3://steward/usage/eks/shop.json"]
    succeeded(container(root, config, write, pod), " ".join(write))
    written = Aws.objects.get("/steward/usage/eks/shop.json")
    need(written is not None, f"it wrote {sorted(Aws.objects)}")
    listed = json.loads(written)
    need(listed["cluster"] == "shop" and not listed.get("gaps"), f"the list is {listed}")
    need(DIGEST in json.dumps(listed["images"]), "the list lacks the pod's image")
    # Partitions whose roots are not in the program take those of the image. This server has none of theirs, and must be refused for it.
    secure = serve(Aws, context)
    there = pod | {"AWS_REGION": "cn-north-1", "AWS_ENDPOINT_URL": f"https://127.0.0.1:{secure}"}
    refused = container(root, config, write, there)
    need(refused.returncode == 2, f"an AWS that nobody vouches for: exit code {refused.returncode}\n{refused.stderr}")
    need("certificate" in refused.stderr.lower() or "UnknownIssuer" in refused.stderr, f"it says {refused.stderr}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    run(Path(sys.argv[1]), sys.argv[2])
