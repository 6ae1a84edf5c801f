"""A node: containerd, kubelet and kube-proxy in a network namespace."""

import json
from pathlib import Path

from tests.cluster import cgroups, isolation
from tests.cluster.build import Programs
from tests.cluster.credentials import Credentials
from tests.cluster.images import REFERENCES
from tests.cluster.network import NodeNetwork
from tests.cluster.places import CLUSTER_DNS, PODS, STATE
from tests.cluster.process import Component, run

_CONTAINERD_CONFIG = """\
version = 3
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
disabled_plugins = ["io.containerd.snapshotter.v1.blockfile", "io.containerd.nri.v1.nri"]
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{socket}.ttrpc"
[plugins.'io.containerd.internal.v1.opt']
  path = "{folder}/containerd/opt"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    runtime_path = "{shim}"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{folder}/cni"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{pause}"
"""


def _cni(network: NodeNetwork, folder: Path) -> dict[str, object]:
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": network.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(folder / "addresses"),
    }
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": ipam,
    }
    # portmap is what makes a hostPort work, on TCP and UDP
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    name = f"podfleet-{network.node}"
    return {"cniVersion": "1.0.0", "name": name, "plugins": [bridge, portmap]}


def _kubelet(network: NodeNetwork, folder: Path, socket: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": network.address,
        # The API server reads logs and events; only this machine reaches the namespace.
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroups.OURS}/{network.node}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "localStorageCapacityIsolation": True,
        "clusterDNS": [CLUSTER_DNS],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{socket}",
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%"},
        "healthzBindAddress": network.address,
        "imageGCHighThresholdPercent": 100,
        "maxPods": 200,
        "podLogsDir": str(folder / "pod-logs"),
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 500,
        "kubeAPIBurst": 1000,
        "resolvConf": "",
        "serializeImagePulls": False,
        "volumePluginDir": str(folder / "plugins"),
    }


def start(programs: Programs, credentials: Credentials, network: NodeNetwork) -> list[Component]:
    """Start a node's programs; the images of the tests are on it when this returns."""
    folder = STATE / network.node
    for part in ("cni", "kubelet", "pod-logs", "plugins"):
        (folder / part).mkdir(parents=True)
    (folder / "cni" / "10-podfleet.conflist").write_text(json.dumps(_cni(network, folder)))
    holder = isolation.start(network.node)
    enter = ("nsenter", network.enter, f"--mount=/proc/{holder.pid}/ns/mnt")
    containerd = _containerd(programs, network, folder, enter)
    cgroups.create(network.node)
    config = folder / "kubelet.json"
    config.write_text(json.dumps(_kubelet(network, folder, folder / "containerd.sock")))
    kubelet = Component(
        f"kubelet-{network.node}",
        [
            programs["kubernetes"],
            "kubelet",
            f"--kubeconfig={credentials.kubeconfig(f'system:node:{network.node}')}",
            f"--config={config}",
            f"--root-dir={folder}/kubelet",
            f"--cert-dir={folder}/kubelet/pki",
            f"--hostname-override={network.node}",
            f"--node-ip={network.address}",
        ],
        enter=enter,
    )
    proxy = Component(
        f"kube-proxy-{network.node}",
        [
            programs["kubernetes"],
            "kube-proxy",
            f"--kubeconfig={credentials.kubeconfig('system:kube-proxy')}",
            "--proxy-mode=nftables",
            f"--hostname-override={network.node}",
            f"--cluster-cidr={PODS}",
            "--conntrack-max-per-core=0",
            f"--healthz-bind-address={network.address}:10256",
            f"--metrics-bind-address={network.address}:10249",
        ],
        enter=enter,
    )
    return [holder, containerd, proxy, kubelet]


def _containerd(
    programs: Programs, network: NodeNetwork, folder: Path, enter: tuple[str, ...]
) -> Component:
    socket = folder / "containerd.sock"
    config = folder / "containerd.toml"
    config.write_text(
        _CONTAINERD_CONFIG.format(
            folder=folder,
            socket=socket,
            shim=programs["containerd-shim-runc-v2"],
            pause=REFERENCES["pause"],
        )
    )
    containerd = Component(
        f"containerd-{network.node}",
        [programs["containerd"], "--config", config],
        enter=enter,
    )
    ctr = (programs["ctr"], "--address", socket, "--namespace", "k8s.io")

    def serving() -> bool:
        return socket.exists() and "SERVER" in run(*ctr, "version", check=False).upper()

    containerd.wait_until(serving, "serving")
    for image in REFERENCES:
        archive = programs[image].parent / f"{image}.tar"
        run(*ctr, "images", "import", "--local", archive)
    return containerd
