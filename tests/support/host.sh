#!/bin/bash
# The first process of a test host, in network, mount, PID, UTS and IPC namespaces of its own (see hosts.py): gives it a
# disk, /proc, /dev, a network and an empty home, and becomes its sshd, whose end is the host's end.
#   host.sh NAME ADDRESS/BITS FOLDER SIZE HOME [READ-ONLY PLACE]...
set -euo pipefail
name=$1 address=$2 folder=$3 size=$4 home=$5
shift 5

# the disk: this machine's, read only, under a layer in memory
disk=/run/apet-host
mkdir -p $disk
mount -t tmpfs -o "size=$size,mode=755" tmpfs $disk
mkdir $disk/{upper,work,root}
mount -t overlay -o lowerdir=/,upperdir=$disk/upper,workdir=$disk/work overlay $disk/root
cd $disk/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --bind /dev dev
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o size=1g tmpfs dev/shm
mount -t tmpfs -o size=64m tmpfs run

# what this machine keeps there is no business of a fresh one
mkdir -m 700 $disk/home
mkdir -m 1777 $disk/tmp
mount --bind $disk/home ".$home"
mount --bind $disk/tmp tmp
cp -r etc/skel/. ".$home"
touch ".$home/.bashrc"
for place in "$@"; do # behind the folders above, or on other disks, which the overlay doesn't show
    mkdir -p ".$place"
    mount --bind "$place" ".$place"
    mount -o remount,bind,ro ".$place"
done
for place in /mnt/shared "$folder/shared"; do # stands in for NFS
    mkdir -p ".$place"
    mount --bind "$folder/shared" ".$place"
done

hostname "$name"
cp "$folder/hosts" etc/hosts # Ray asks for the address of its own host's name
cp "$folder/profile.sh" etc/profile.d/apet-host.sh
: >etc/resolv.conf
mkdir -m 700 ".$home/.ssh"
install -m 600 "$folder/key.pub" ".$home/.ssh/authorized_keys"

echo 1 >proc/sys/net/ipv6/conf/all/disable_ipv6 || true
ip link set lo up
until ip link set eth0 up 2>/dev/null; do sleep 0.05; done # hosts.py puts it here
ip address add "$address" dev eth0                         # and no route to elsewhere

mkdir -p run/sshd
install -m 600 "$folder/key" run/sshd/key
exec chroot . /usr/sbin/sshd -D -e -f /dev/null -h /run/sshd/key -o "ListenAddress=${address%/*}" \
    -o PermitRootLogin=prohibit-password -o PasswordAuthentication=no -o UsePAM=no -o StrictModes=no -o UseDNS=no \
    -o PrintMotd=no -o MaxStartups=100 -o MaxSessions=100 -o "Subsystem=sftp internal-sftp" \
    -o "SetEnv=$(cat "$folder/variables")"
