import django.utils.timezone
from django.db import migrations, models

# Django knows no partitioned tables. The primary key begins with the number, which is also what the rows would be
# distributed by (P-10.3). Months get their partition when the first sample comes (jingwei.base.partitions).
TABLE = """
CREATE TABLE testing_sample (
    number bytea NOT NULL,
    sampled_at timestamp with time zone NOT NULL,
    point varchar(120) NOT NULL,
    region varchar(15) COLLATE "C" NOT NULL,
    name varchar(60) NOT NULL,
    institution varchar(120) NOT NULL,
    result varchar(10) NOT NULL,
    result_at timestamp with time zone NULL,
    received_at timestamp with time zone NOT NULL,
    PRIMARY KEY (number, sampled_at, point)
) PARTITION BY RANGE (sampled_at)
"""


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(TABLE, "DROP TABLE testing_sample")],
            state_operations=[
                migrations.CreateModel(
                    name='Sample',
                    fields=[
                        ('pk', models.CompositePrimaryKey('number', 'sampled_at', 'point', blank=True, editable=False, primary_key=True, serialize=False)),
                        ('number', models.BinaryField(verbose_name='证件号')),
                        ('sampled_at', models.DateTimeField(verbose_name='采样时间')),
                        ('point', models.CharField(max_length=120, verbose_name='采样点名称')),
                        ('region', models.CharField(blank=True, db_collation='C', max_length=15, verbose_name='受检人所在村/社区')),
                        ('name', models.CharField(blank=True, max_length=60, verbose_name='受检人')),
                        ('institution', models.CharField(blank=True, max_length=120, verbose_name='检测机构')),
                        ('result', models.CharField(blank=True, max_length=10, verbose_name='检测结果')),
                        ('result_at', models.DateTimeField(null=True, verbose_name='检测时间')),
                        ('received_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='入库时间')),
                    ],
                    options={
                        'verbose_name': '核酸检测',
                        'ordering': ['-sampled_at'],
                    },
                ),
            ],
        ),
        migrations.AddIndex(
            model_name='sample',
            index=models.Index(fields=['region', 'sampled_at'], name='samples_by_region'),
        ),
    ]
