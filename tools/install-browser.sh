#!/bin/sh
# Have Chromium and a Chinese font for the browser tests, from the system's packages.
set -eu

packages=""
command -v chromium >/dev/null || packages="chromium"
[ -n "$(fc-list :lang=zh 2>/dev/null)" ] || packages="$packages fontconfig fonts-wqy-zenhei"
[ -n "$packages" ] || exit 0

refuse() {
    echo "浏览器测试需要以下系统软件包，但未能自动安装（$1）：$packages" >&2
    echo "请安装后重试：sudo apt-get install $packages" >&2
    echo "The browser tests need these system packages, which could not be installed: $packages" >&2
    exit 2
}

command -v apt-get >/dev/null || refuse "本机没有 apt-get"
root=""
if [ "$(id -u)" != 0 ]; then
    root="sudo -n"
    sudo -n true 2>/dev/null || refuse "当前用户不是 root，也不能免密使用 sudo"
fi
echo "正在安装浏览器测试所需的系统软件包：$packages"
# shellcheck disable=SC2086 # both are lists of words
{ $root apt-get -qq update && DEBIAN_FRONTEND=noninteractive $root apt-get -qq install -y --no-install-recommends $packages; } >/dev/null ||
    refuse "apt-get 出错"
