"""AWS on hosts of this machine: moto answers its interfaces, and every instance that it starts gets a host.

moto only keeps books: that an instance "runs" is a line in them. The power switch reads these books, boots a host with an
instance's addresses and key, and takes its power when the instance is terminated, by whomever.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import sysconfig
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import boto3

from tests.cluster.hosts import PYTHON, Host, Network

REGION, BUCKET = "us-west-2", "studies-of-mine"
KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
ADDRESSES = "172.31.0.0/16"
"""Those of every account's first network, and so of moto's."""
_METADATA = "169.254.169.254"
_ROLES = ("minbert-head", "minbert-worker")
_SERVER = Path(__file__).with_name("cloud_server.py")
_CONTAINER = Path(__file__).with_name("container.py")
_ON_ONE_MACHINE = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "4",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_memory_monitor_refresh_ms": "0",
    "AWS_METADATA_SERVICE_TIMEOUT": "30",
    "AWS_METADATA_SERVICE_NUM_ATTEMPTS": "10",
}
"""What makes up for hosts that share a machine, perhaps a busy one: its memory is not theirs, so Ray does not end trials for
it; Ray may start, and instance metadata may answer, later. And a lost host is noticed sooner than in a minute."""
_ON = ("pending", "running")
_CLONE_NEWNET = 0x40000000
Answer = TypeVar("Answer")


class Cloud:
    """An account of AWS, on a network's switch; used from anywhere, as its threads are beside the switch."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.url = f"http://{network.address}"
        subprocess.run(
            ["ip", "-n", network.switch, "addr", "add", f"{_METADATA}/32", "dev", "br0"], check=True
        )
        self._sold_out = network.folder / "sold_out"
        server = [sys.executable, str(_SERVER), str(self._sold_out), "-H", network.address, "-p", "80"]
        command = [*network.within(), *server]
        with (network.folder / "moto.log").open("wb") as log:
            self._server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self._threads = ThreadPoolExecutor(4, "cloud", _enter, (network.switch,))
        self._metadata = self.within(ThreadingHTTPServer, (_METADATA, 80), _Metadata)
        threading.Thread(target=self._metadata.serve_forever, name="metadata", daemon=True).start()
        self.within(self._wait)
        self.ec2, self.iam, self.ssm, self.s3 = map(self._client, ("ec2", "iam", "ssm", "s3"))

    def within(self, function: Callable[..., Answer], *arguments: Any, **named: Any) -> Answer:
        """What a function returns that has to reach the network, such as one of the clients' methods."""
        return self._threads.submit(function, *arguments, **named).result()

    def prepare_account(self, from_where: str) -> None:
        """What docs/cluster.md does once an account; SSH is let in from one address."""
        self.within(self._prepare, from_where)

    def instances(self) -> dict[str, dict[str, Any]]:
        """All instances that there were, by their id, as EC2 describes them."""
        reservations = self.within(self.ec2.describe_instances)["Reservations"]
        return {each["InstanceId"]: each for reserved in reservations for each in reserved["Instances"]}

    def terminate(self, instance: str) -> None:
        """End an instance, as AWS does with one on spot that it wants back."""
        self.within(self.ec2.terminate_instances, InstanceIds=[instance])

    def sell_out(self) -> None:
        """Have no machine on spot any more."""
        self._sold_out.touch()

    def names(self, prefix: str) -> list[str]:
        """Of the objects in the bucket that begin so, in order."""
        listed = self.within(self.s3.list_objects_v2, Bucket=BUCKET, Prefix=prefix)
        return sorted(each["Key"] for each in listed.get("Contents", []))

    def read(self, name: str) -> bytes:
        """An object of the bucket."""
        content: bytes = self.within(self.s3.get_object, Bucket=BUCKET, Key=name)["Body"].read()
        return content

    def security_group(self) -> list[dict[str, Any]]:
        """Who may reach the machines."""
        groups = self.within(self.ec2.describe_security_groups)["SecurityGroups"]
        return next(group["IpPermissions"] for group in groups if group["GroupName"] == "minbert")

    def end(self) -> None:
        self._threads.shutdown()
        self._metadata.shutdown()
        self._metadata.server_close()
        self._server.kill()
        self._server.wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/moto-api/", timeout=5).close()
                return
            except (urllib.error.URLError, OSError):
                assert time.monotonic() < deadline and self._server.poll() is None, "moto did not start"
                time.sleep(0.2)

    def _client(self, service: str) -> Any:
        return boto3.client(service, region_name=REGION, endpoint_url=self.url, **KEYS)

    def _prepare(self, from_where: str) -> None:
        image = self.ec2.describe_images()["Images"][0]["ImageId"]
        self.ssm.put_parameter(Name="/minbert/ami", Type="String", Value=image)
        (vpc,) = self.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        group = self.ec2.create_security_group(
            GroupName="minbert", Description="minbert-search", VpcId=vpc["VpcId"]
        )["GroupId"]
        ssh = {
            "IpProtocol": "tcp",
            "FromPort": 22,
            "ToPort": 22,
            "IpRanges": [{"CidrIp": f"{from_where}/32"}],
        }
        each_other = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
        self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[ssh, each_other])
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        for role in _ROLES:
            self.iam.create_role(RoleName=role, AssumeRolePolicyDocument="{}")
            self.iam.create_instance_profile(InstanceProfileName=role)
            self.iam.add_role_to_instance_profile(InstanceProfileName=role, RoleName=role)


class _Metadata(BaseHTTPRequestHandler):
    """What a machine asks for its role's keys; moto's own does not know all the words that pyarrow asks with."""

    def do_PUT(self) -> None:  # a session's token
        self._answer("token")

    def do_GET(self) -> None:
        match self.path.removeprefix("/latest/meta-data/").rstrip("/"):
            case "iam/security-credentials":
                self._answer("role")
            case "iam/security-credentials/role":
                keys = {"AccessKeyId": "a", "SecretAccessKey": "b", "Token": "c", "Code": "Success"}
                self._answer(json.dumps({**keys, "Expiration": "2100-01-01T00:00:00Z"}))
            case "placement/availability-zone":
                self._answer(f"{REGION}a")
            case _:
                self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
        self.end_headers()
        self.wfile.write(text.encode())


class PowerSwitch:
    """Hosts of a cloud's instances, on while these are.

    Args:
        cloud: whose instances.
        key: says which public key the instances' key pair has, once there are instances.
        introduce: told each new host and its public address.
    """

    def __init__(self, cloud: Cloud, key: Callable[[], str], introduce: Callable[[Host, str], None]) -> None:
        self.hosts: dict[str, Host] = {}
        self.failure: BaseException | None = None
        self._cloud, self._key, self._introduce = cloud, key, introduce
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="power switch", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def check(self) -> None:
        """Raise what went wrong with the hosts."""
        if self.failure is not None:
            raise self.failure

    def _watch(self) -> None:
        try:
            while not self._over.wait(1):
                for name, instance in self._cloud.instances().items():
                    self._switch(name, instance)
        except BaseException as failure:
            self.failure = failure

    def _switch(self, name: str, instance: dict[str, Any]) -> None:
        if name in self.hosts:
            if instance["State"]["Name"] not in _ON:
                self.hosts[name].kill()
        elif instance["State"]["Name"] in _ON:
            public = instance["PublicIpAddress"]
            self.hosts[name] = self._cloud.network.boot(
                name,
                instance["PrivateIpAddress"],
                user="ubuntu",
                public_key=self._key(),
                shown=PYTHON,
                prepare=_image(self._cloud.url, public),
            )
            self._introduce(self.hosts[name], public)


def _enter(namespace: str) -> None:
    """Move this thread's network there."""
    with Path("/run/netns", namespace).open() as handle:
        library = ctypes.CDLL(None, use_errno=True)
        if library.setns(handle.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), namespace)


def _image(cloud: str, public: str) -> str:
    """Commands for ``Network.boot``: the machine's image and the container's, with this Python's packages but not the project."""
    container = {
        "HOME": "/home/ray",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "AWS_ENDPOINT_URL": cloud,
        **_ON_ONE_MACHINE,
    }
    packages, scripts = sysconfig.get_path("purelib"), Path(sys.executable).parent
    home, venv = container["HOME"], f"{container['HOME']}/minbert-venv"
    return f"""
ip address add {public}/32 dev lo
ip route add {_METADATA}/32 dev eth0
# The container's user has another name and home than the machine's, and the same number.
sed -i "1i ray:x:$(id -u ubuntu):$(id -g ubuntu)::{home}:/bin/bash" /etc/passwd
echo '{json.dumps(container)}' > /etc/container-image.json
mkdir -p /usr/local/bin {home}
cat > /usr/local/bin/docker <<'END'
#!{sys.executable} -IS
{_CONTAINER.read_text()}
END
printf '#!/bin/sh\\nexit 0\\n' > /usr/local/bin/sudo # asked only to let the user use Docker
chmod 755 /usr/local/bin/docker /usr/local/bin/sudo
{sys.executable} -m venv --without-pip {venv}
echo {packages} > {venv}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages/image.pth
for script in pip ray; do
    sed '1s|.*|#!{venv}/bin/python|' {scripts}/$script > {venv}/bin/$script
    chmod 755 {venv}/bin/$script
done
# All that is to be installed is there, but for the project; there is no index to ask.
printf '[global]\\nno-index = true\\nno-deps = true\\nno-build-isolation = false\\n' > /etc/pip.conf
chown -R ubuntu: {home}
"""
