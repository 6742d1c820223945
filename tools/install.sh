#!/bin/sh
# Install the system packages named, or say which to install where that isn't possible.
set -eu

refuse() {
    echo "需要以下系统软件包，但未能自动安装（$1）：$packages" >&2
    echo "请安装后重试：sudo apt-get install $packages" >&2
    echo "These system packages are needed and could not be installed: $packages" >&2
    exit 2
}

packages=$*
command -v apt-get >/dev/null || refuse "本机没有 apt-get"
as_root=
if [ "$(id -u)" != 0 ]; then
    as_root="sudo -n"
    $as_root true 2>/dev/null || refuse "当前用户不是 root，也不能免密使用 sudo"
fi
echo "正在安装系统软件包：$packages"
$as_root apt-get -qq update >/dev/null || refuse "apt-get update 出错"
$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null ||
    refuse "apt-get install 出错"
