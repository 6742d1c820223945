"""What `rows` and `export` share: who asks, for which rows of which resource."""

import socket
from contextlib import contextmanager

from django.core.exceptions import ValidationError
from django.http import QueryDict

from jingwei import menu
from jingwei.base import wall
from jingwei.desk.lists import Selection
from jingwei.directory.actors import actor_of_login


def add_arguments(parser):
    parser.add_argument("resource", help="数据的名称，如 people")
    parser.add_argument(
        "--as", dest="login", required=True, metavar="LOGIN", help="以哪个账号的权限和数据范围"
    )
    parser.add_argument("--q", default="", metavar="TEXT", help="快速查找")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="筛选：列名、字段或筛选项=值，可重复",
    )
    parser.add_argument("--order", default="", metavar="NAME", help="按哪一列排序；倒序写成 --order=-NAME")
    parser.add_argument("--limit", type=int, metavar="N", help="最多多少行")
    parser.add_argument("--clear", action="store_true", help="个人信息不打星号（需要查看明文权限和事由）")
    parser.add_argument("--reason", default="", metavar="TEXT", help="查看明文的事由")


@contextmanager
def selected(options, action):
    """The Selection of the rows the options mean, as far as the account may use `action` on them.

    Inside, the database is read from where the account stands. ValidationError for what cannot be meant.
    """
    if options.resource not in menu.resources():
        raise ValidationError(f"没有名为“{options.resource}”的数据，可用：{'、'.join(menu.resources())}")
    resource = menu.resource(options.resource)
    actor = actor_of_login(options.login, address="", device=f"命令行 {socket.gethostname()}")
    with wall.acting(actor), resource.standing():
        yield _selection(options, resource, actor, action)


def _selection(options, resource, actor, action):
    wrong = [text for text in options.where if "=" not in text]
    if wrong:
        raise ValidationError(f"筛选“{wrong[0]}”应写成 列名=值")
    if options.limit is not None and options.limit < 1:
        raise ValidationError("--limit 应为正整数")
    params = QueryDict(mutable=True)
    params.update({"q": options.q, "sort": options.order})
    where = [(name.strip(), value) for name, _, value in (text.partition("=") for text in options.where)]
    selection = Selection(resource, actor, params, action=action, where=where)
    if options.order and not selection.sort:
        raise ValidationError(f"不能按“{options.order}”排序")
    if selection.refusals:
        raise ValidationError(selection.refusals)
    return selection
