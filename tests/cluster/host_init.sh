# A host's first process, in namespaces of its own: its file system, its user, its SSH server. It ends with its standard
# input, and everything here with it. What is asked for comes by the environment (see Network.boot in hosts.py).
set -euo pipefail
root=$base/root
mount -t tmpfs -o mode=755 tmpfs "$base"
mkdir "$base/upper" "$base/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$root"

mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/home"
mkdir -p "$root/run/sshd" "$root/var/tmp"
if [[ -n $cpus ]]; then
    echo "0-$((cpus - 1))" >"$base/online"
    mount --bind "$base/online" "$root/sys/devices/system/cpu/online"
fi

# The folders on the way are opened for the user, as an interpreter below /root needs it; here alone.
reach() {
    local way=""
    mkdir -p "$root$1"
    while IFS= read -r -d / part; do
        way=$way$part/
        chmod o+x "$root$way"
    done <<<"$1"
}
while read -r path; do
    [[ -z $path || ! -d $root$path ]] || mount -t tmpfs -o mode=755 tmpfs "$root$path"
done <<<"$hidden"
while read -r path; do
    [[ -z $path ]] || { reach "$path" && mount --bind "$path" "$root$path" && mount -o remount,bind,ro "$root$path"; }
done <<<"$shown"

hostname "$name"
echo "$name" >"$root/etc/hostname"
printf '127.0.0.1 localhost\n%s %s\n' "$address" "$name" >"$root/etc/hosts"
: >"$root/etc/resolv.conf"
chroot "$root" id -u "$user" &>/dev/null || chroot "$root" useradd --create-home --uid 59123 --shell /bin/bash "$user"
chroot "$root" usermod --password '*' "$user" # no password opens it, but it is not locked, as sshd would have it
home=$(chroot "$root" sh -c "echo ~$user")
while read -r path place; do
    [[ -z $path ]] || { mkdir -p "$root$place" && chown "$(chroot "$root" id -u "$user")" "$path" && mount --bind "$path" "$root$place"; }
done <<<"$shared"
printf '%s\n' "$keys" >"$root/etc/ssh/keys_of_hosts"
rm -f "$root"/etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -f "$root/etc/ssh/ssh_host_ed25519_key"
chroot "$root" env user="$user" home="$home" bash -euc "$prepare"
chroot "$root" /usr/sbin/sshd -D -e -f /dev/null -o AuthorizedKeysFile=/etc/ssh/keys_of_hosts -o StrictModes=no -o UseDNS=no \
    -o PasswordAuthentication=no -o KbdInteractiveAuthentication=no -o MaxStartups=100 -o MaxSessions=100 \
    -o HostKey=/etc/ssh/ssh_host_ed25519_key </dev/null &
exec chroot "$root" bash -c 'read -r _ || true'
