"""What P9 is held against: the same two replies from a Django REST Framework application, with
token authentication, model serializers, nested analyses and files, and its usual pages.

Run by reads.py: `drf.py fill FOLDER` makes the database from our own replies, `drf.py serve FOLDER
HOW` serves it and prints its port.

It is set up in its own favour: no sessions, cookies or templates, one renderer, a database
connection that stays open, related rows fetched together.
"""

import json
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

import django
from django.apps import AppConfig
from django.conf import settings

FOLDER = Path(sys.argv[2])

settings.configure(
    SECRET_KEY="bench",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    TIME_ZONE="UTC",
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "rest_framework",
        "rest_framework.authtoken",
        AppConfig("bench", sys.modules[__name__]),  # this file
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(FOLDER / "drf.db"),
            "CONN_MAX_AGE": None,
            "OPTIONS": {"init_command": "PRAGMA journal_mode=wal;PRAGMA synchronous=full"},
        }
    },
    MIGRATION_MODULES={"bench": None},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    LOGGING_CONFIG=None,
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.TokenAuthentication"],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
        "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
        "PAGE_SIZE": 10,
    },
)
django.setup()

from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.db import connection, models, transaction
from django.urls import path
from rest_framework import generics, serializers
from rest_framework.authtoken.models import Token

# --- models: fields are named as on the wire ------------------------------------------------------


class Tag(models.Model):
    name = models.CharField(max_length=100)

    class Meta:
        app_label = "bench"


class File(models.Model):
    id = models.CharField(max_length=12, primary_key=True)
    owner = models.ForeignKey(User, models.CASCADE)
    name = models.TextField()
    typeId = models.IntegerField()
    dateUploaded = models.DateTimeField()
    relativePath = models.TextField()
    encodedEncryptionKey = models.TextField()
    decryptedSize = models.BigIntegerField()
    decompress = models.BooleanField()
    path = models.TextField()
    isUploaded = models.BooleanField()
    viewInBrowser = models.BooleanField()
    isDeleted = models.BooleanField()
    md5 = models.CharField(max_length=32)
    sha512 = models.CharField(max_length=128)

    class Meta:
        app_label = "bench"


class Job(models.Model):
    id = models.CharField(max_length=12, primary_key=True)
    owner = models.ForeignKey(User, models.CASCADE, related_name="jobs")
    name = models.TextField()
    dateInserted = models.DateTimeField()
    isLowPriority = models.BooleanField()
    isTemplateDryRun = models.BooleanField()
    includeNominalRun = models.BooleanField()
    expectedRuns = models.IntegerField(null=True)
    monteCarloIterations = models.IntegerField(null=True)
    optimizer = models.JSONField(null=True)
    paramFile = models.JSONField(null=True)
    caseFile = models.JSONField(null=True)
    jobvariables = models.JSONField()
    projectId = models.CharField(max_length=12, null=True)
    resourceFilters = models.JSONField()
    tags = models.ManyToManyField(Tag)
    description = models.TextField()
    clonedFrom = models.CharField(max_length=12, null=True)
    folderId = models.CharField(max_length=12, null=True)
    billingPriorityValue = models.CharField(max_length=40, null=True)
    cidrRule = models.CharField(max_length=40, null=True)
    publicKey = models.TextField(null=True)
    sshPort = models.IntegerField(null=True)
    autoTerminateCluster = models.BooleanField()
    clusterId = models.CharField(max_length=12, null=True)
    inputFileParseTask = models.TextField()
    isTemplate = models.BooleanField()
    templatedFrom = models.CharField(max_length=12, null=True)
    jobAutomations = models.JSONField()
    archiveFilters = models.JSONField()
    remoteVizConfig = models.JSONField(null=True)
    sharedWith = models.ManyToManyField(User, related_name="shared_jobs")
    notices = models.JSONField()

    class Meta:
        app_label = "bench"


class JobAnalysis(models.Model):
    job = models.ForeignKey(Job, models.CASCADE, related_name="jobanalyses")
    analysis = models.JSONField()
    command = models.TextField()
    envVars = models.JSONField(null=True)
    useMpi = models.BooleanField()
    flags = models.JSONField()
    useRescaleLicense = models.BooleanField()
    onDemandLicenseSeller = models.JSONField(null=True)
    userDefinedLicenseSettings = models.JSONField(null=True)
    licenseSettings = models.JSONField()
    order = models.IntegerField(null=True)
    isCustomDoe = models.BooleanField()
    shouldRunForever = models.BooleanField()
    setupCommand = models.TextField()
    stopCommand = models.TextField()
    stopCommandTimeout = models.IntegerField(null=True)
    useSharedStorage = models.BooleanField()
    inputFolders = models.JSONField()
    templateTasks = models.JSONField()
    hardware = models.JSONField()
    inputFiles = models.ManyToManyField(File)
    preProcessScript = models.ForeignKey(File, models.CASCADE, related_name="+", null=True)
    preProcessScriptCommand = models.TextField()
    postProcessScript = models.ForeignKey(File, models.CASCADE, related_name="+", null=True)
    postProcessScriptCommand = models.TextField()

    class Meta:
        app_label = "bench"


class Status(models.Model):
    job = models.ForeignKey(Job, models.CASCADE, related_name="statuses")
    status = models.CharField(max_length=32)
    statusDate = models.DateTimeField()
    statusReason = models.TextField(null=True)
    notify = models.BooleanField()
    preventDuplicates = models.BooleanField()

    class Meta:
        app_label = "bench"


# --- serializers and views ------------------------------------------------------------------------


class FileSerializer(serializers.ModelSerializer):
    owner = serializers.CharField(source="owner.email")
    downloadUrl = serializers.HyperlinkedIdentityField("contents")
    sharedWith = serializers.SerializerMethodField()
    fileChecksums = serializers.SerializerMethodField()
    userTags = serializers.SerializerMethodField()

    class Meta:
        model = File
        exclude = ("sha512",)

    def get_sharedWith(self, _file: File) -> list[str]:
        return []

    def get_fileChecksums(self, file: File) -> list[dict[str, str]]:
        return [{"hashFunction": "sha512", "fileHash": file.sha512}]

    def get_userTags(self, _file: File) -> list[str]:
        return []


class JobAnalysisSerializer(serializers.ModelSerializer):
    inputFiles = FileSerializer(many=True)
    preProcessScript = FileSerializer()
    postProcessScript = FileSerializer()

    class Meta:
        model = JobAnalysis
        exclude = ("id", "job")


class JobSerializer(serializers.ModelSerializer):
    owner = serializers.CharField(source="owner.email")
    tags = serializers.SlugRelatedField("name", many=True, read_only=True)
    userTags = serializers.SlugRelatedField("name", many=True, read_only=True, source="tags")
    sharedWith = serializers.SlugRelatedField("email", many=True, read_only=True)
    jobanalyses = JobAnalysisSerializer(many=True)

    class Meta:
        model = Job
        fields = "__all__"


class StatusSerializer(serializers.ModelSerializer):
    class Meta:
        model = Status
        exclude = ("id", "job")


class JobView(generics.RetrieveAPIView):
    serializer_class = JobSerializer

    def get_queryset(self) -> Any:
        return (
            Job.objects.filter(owner=self.request.user)
            .select_related("owner")
            .prefetch_related(
                "tags",
                "sharedWith",
                "jobanalyses",
                models.Prefetch("jobanalyses__inputFiles", File.objects.select_related("owner")),
            )
        )


class StatusesView(generics.ListAPIView):
    serializer_class = StatusSerializer

    def get_queryset(self) -> Any:
        mine = Status.objects.filter(job=self.kwargs["pk"], job__owner=self.request.user)
        return mine.order_by("-id")


urlpatterns = [
    path("api/v2/jobs/<pk>/", JobView.as_view()),
    path("api/v2/jobs/<pk>/statuses/", StatusesView.as_view()),
    path("api/v2/files/<pk>/contents/", JobView.as_view(), name="contents"),
]
application = get_wsgi_application()


# --- filling and serving --------------------------------------------------------------------------


def fill(told: dict[str, Any]) -> None:
    """told: key, and for every job our own replies."""
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        for model in (Tag, File, Job, JobAnalysis, Status):
            editor.create_model(model)
    with transaction.atomic():
        owner = User.objects.create(username="admin", email=told["jobs"][0]["job"]["owner"])
        Token.objects.create(user=owner, key=told["key"])
        for entry in told["jobs"]:
            _fill_job(owner, entry["job"], entry["statuses"])


def _fill_job(owner: User, job: dict[str, Any], statuses: list[dict[str, Any]]) -> None:
    assert not (job["tags"] or job["sharedWith"])
    row = Job.objects.create(owner=owner, **_columns(Job, job))
    for sent in job["jobanalyses"]:
        assert not (sent["preProcessScript"] or sent["postProcessScript"])
        analysis = JobAnalysis.objects.create(job=row, **_columns(JobAnalysis, sent))
        for file in sent["inputFiles"]:
            values = {**_columns(File, file), "sha512": file["fileChecksums"][0]["fileHash"]}
            there, _ = File.objects.get_or_create(
                id=file["id"], defaults={"owner": owner, **values}
            )
            analysis.inputFiles.add(there)
    Status.objects.bulk_create(Status(job=row, **entry) for entry in reversed(statuses))


def _columns(model: type[models.Model], wire: dict[str, Any]) -> dict[str, Any]:
    """What of an object on the wire is a plain column of the model."""
    names = {column.name for column in model._meta.fields if not column.is_relation}  # noqa: SLF001
    return {name: value for name, value in wire.items() if name in names}


def serve(how: str) -> None:
    logging.disable(logging.CRITICAL)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.set_inheritable(True)
    print(listener.getsockname()[1], flush=True)
    if how == "uvicorn":
        import uvicorn
        from django.core.asgi import get_asgi_application

        config = uvicorn.Config(
            get_asgi_application(), loop="uvloop", http="httptools", log_config=None, lifespan="off"
        )
        uvicorn.Server(config).run(sockets=[listener])
        return
    from gunicorn.app.base import BaseApplication

    class Gunicorn(BaseApplication):
        def load_config(self) -> None:
            for name, value in {
                "bind": f"fd://{listener.fileno()}",
                "workers": 1,
                "worker_class": how,
                "threads": 2 if how == "gthread" else 1,
                "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,
                "keepalive": 60,
            }.items():
                self.cfg.set(name, value)

        def load(self) -> Any:
            return application

    Gunicorn().run()


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(json.load(sys.stdin))
    else:
        serve(sys.argv[3])
