#!/bin/sh
# First process of a node, in network, mount, pid, ipc and uts namespaces of its own: node_init.sh NAME FOLDER
# What it mounts goes with it. Orphans of the node become its children; the shell collects them.
set -e
name=$1 folder=$2
hostname "$name"
mount -t proc proc /proc
# A view of /sys with this node's network links, and with the machine's control groups in it.
mkdir -p "$folder/cgroups"
mount --rbind /sys/fs/cgroup "$folder/cgroups"
umount -l /sys
mount -t sysfs sysfs /sys
mount --rbind "$folder/cgroups" /sys/fs/cgroup
umount -l "$folder/cgroups"
mount -t tmpfs -o mode=755 tmpfs /run
# Paths that are written into the programs.
for path in /var/lib/kubelet /var/lib/cni /var/log; do
  mkdir -p "$folder$path"
  mount --bind "$folder$path" "$path"
done
mkdir -p /var/log/pods /var/log/containers
mount --make-rshared /
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
: > "$folder/ready"
while :; do
  sleep 86400 &
  wait
done
