"""What the sheets about people look like (CL-6.1)."""

from jingwei.base.columns import Code, Date, DocType, IdNumber, Phone, Sex, Text, YesNo
from jingwei.base.sheets import Sheet, SheetColumn
from jingwei.directory.columns import Town, Village
from jingwei.people.actions import note_transfers, start_roll_up_of_samples
from jingwei.people.duplicates import search_after_load
from jingwei.people.following import FOLLOWING, following
from jingwei.people.models import Person, PersonAlias


class RosterSheet(Sheet):
    """The community survey roster (摸排表), and the 25-column table of CL-3.1 when it comes back."""

    name = "roster"
    label = "人员摸排表"
    resource = "people"
    model = Person
    columns = [
        SheetColumn(
            "town",
            "乡镇（街道）",
            Town(),
            synonyms=[
                "乡镇街道",
                "乡镇/街道",
                "街道/乡镇",
                "街道（乡镇）",
                "乡镇",
                "街道",
                "所属乡镇",
                "镇街",
            ],
            stored=False,
        ),
        SheetColumn(
            "region",
            "村/社区",
            Village(town="town"),
            synonyms=[
                "村（社区）",
                "社区/村",
                "社区（村）",
                "村社区",
                "村居",
                "村/居",
                "社区",
                "村",
                "行政村",
                "所属村社区",
            ],
            required=True,
        ),
        SheetColumn("name", "姓名", Text(60), synonyms=["人员姓名", "居民姓名", "名字"], required=True),
        SheetColumn("sex", "性别", Sex(), lenient=True),
        SheetColumn(
            "doc_type",
            "证件类型",
            DocType(),
            synonyms=["证件种类", "证件类别", "证件名称"],
            lenient=True,
        ),
        SheetColumn(
            "number",
            "证件号",
            IdNumber(),
            synonyms=[
                *(
                    "证件号码",
                    "身份证号码",
                    "身份证号",
                    "身份证",
                    "居民身份证号码",
                    "公民身份号码",
                    "公民身份证号",
                ),
                *("身份证件号码", "有效证件号码"),
            ],
            required=True,
        ),
        SheetColumn(
            "resident",
            "是否为常住人口",
            YesNo(),
            synonyms=["是否常住", "是否常住人口", "常住人口", "是否为常住"],
            lenient=True,
        ),
        SheetColumn(
            "registered_address",
            "户籍地",
            Text(200),
            synonyms=["户籍地址", "户籍所在地", "户口所在地", "户籍住址", "户籍地详细地址"],
        ),
        SheetColumn(
            "address",
            "居住地",
            Text(200),
            synonyms=[
                *(
                    "居住地址",
                    "现居住地址",
                    "现居住地",
                    "现住址",
                    "现住地址",
                    "家庭住址",
                    "家庭地址",
                    "住址",
                    "详细地址",
                ),
                *("现居地址", "居住详细地址"),
            ],
        ),
        SheetColumn(
            "tenant",
            "是否为租户",
            YesNo(),
            synonyms=["是否租户", "租户", "是否租住", "是否承租"],
            lenient=True,
        ),
        SheetColumn(
            "occupation",
            "单位（从业情况）",
            Text(120),
            synonyms=[
                *(
                    "单位",
                    "工作单位/从业情况",
                    "工作单位",
                    "从业情况",
                    "单位/从业情况",
                    "职业",
                    "工作单位（从业情况）",
                ),
                "工作单位及职业",
            ],
        ),
        SheetColumn(
            "group",
            "人群分类",
            Code("人群分类"),
            synonyms=["人群类别", "人员类别", "人员分类", "人群", "人员类型", "重点人群分类"],
            lenient=True,
        ),
        SheetColumn(
            "phone",
            "联系电话",
            Phone(),
            synonyms=[
                "联系方式",
                "电话",
                "手机",
                "手机号",
                "手机号码",
                "电话号码",
                "联系电话号码",
                "本人电话",
            ],
            lenient=True,
        ),
        SheetColumn(
            "birth_date", "出生日期", Date(), synonyms=["出生年月日", "生日", "出生年月"], lenient=True
        ),
    ]
    key = ("doc_type", "number")
    derived = FOLLOWING
    aliases = (PersonAlias, "person")
    watched = "region"
    elsewhere = "该证件号已在其他辖区登记，不能在此导入"
    notes = [
        "性别和出生日期由居民身份证号得出，可以不填；其它证件照实填写。",
        "同一人（证件类型和号码相同）出现几次时，后面不为空的内容为准；空单元格不会清除已有内容。",
    ]
    example = {
        "town": "安平街道",
        "region": "和园社区",
        "name": "示例姓名",
        "sex": "女",
        "doc_type": "居民身份证",
        "number": "990101199003070023",
        "resident": "是",
        "registered_address": "示例省示例市安澜区安平街道和园社区1号",
        "address": "和园社区1号2栋301室",
        "tenant": "否",
        "occupation": "企业职工",
        "group": "普通人群",
        "phone": "13800000000",
    }

    def derive(self, rows):
        return following(rows)

    def on_add(self, ids):
        start_roll_up_of_samples(ids)

    def after_load(self, rows):
        search_after_load(rows)

    def on_change(self, actor, changes, reason):
        note_transfers(actor, changes, reason=reason)
