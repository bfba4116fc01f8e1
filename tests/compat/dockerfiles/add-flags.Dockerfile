FROM scratch
ADD --chown=1 --chmod=600 --link --keep-git-dir=true --exclude=q a /
