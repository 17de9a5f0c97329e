"""What the running nginx has read is told from what lies there now."""

from pathlib import Path, PurePosixPath

import pytest

from deploy.files.nginx_files import digest, digest_on_disk
from deploy.paths import local_paths
from deploy.rendered_file import RenderedFile


def tls_files(folder: Path) -> tuple[RenderedFile, ...]:
    text = f'ssl_certificate "{folder}/chain.pem";\nssl_certificate_key "{folder}/the key.pem";\n'
    return (
        RenderedFile(PurePosixPath("nginx/snippets/tls.conf"), text),
        RenderedFile(PurePosixPath("supervisor/supervisord.conf"), ""),
    )


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    (tmp_path / "chain.pem").write_text("old")
    (tmp_path / "the key.pem").write_text("old")
    return tmp_path


def test_what_was_rendered_and_what_lies_there_have_one_digest(certificate: Path) -> None:
    paths, files = local_paths(certificate / "var"), tls_files(certificate)
    for file in files:
        (paths.etc / file.path).parent.mkdir(parents=True, exist_ok=True)
        (paths.etc / file.path).write_text(file.text)
    assert digest_on_disk(paths) == digest(files)


@pytest.mark.parametrize("renewed", ["chain.pem", "the key.pem"])
def test_a_renewed_certificate_or_key_is_something_to_read(certificate: Path, renewed: str) -> None:
    before = digest(tls_files(certificate))
    (certificate / renewed).write_text("new")
    assert digest(tls_files(certificate)) != before


def test_a_certificate_that_cannot_be_read_is_left_to_nginx_to_complain_of(tmp_path: Path) -> None:
    assert digest(tls_files(tmp_path)) == digest(tls_files(tmp_path))


def test_files_of_others_do_not_matter(certificate: Path) -> None:
    nginx, supervisor = tls_files(certificate)
    assert digest((nginx,)) == digest((nginx, supervisor))
