# apet with Ray as a container: the other way to bring the code to the nodes of a cluster. `docker build -t apet .` in
# the clone's root; then name the image in the cluster file (docker: {image: …, container_name: apet}) and leave its
# set-up commands out, but for the token's. There was no Docker where this was written, and the image was never built;
# tests/cluster/test_setup.py runs its `pip install` on a bare machine.
FROM python:3.12-slim

# what Ray's launcher and autoscaler need in it, and what people look around with
RUN apt-get update -q && \
    apt-get install -qy --no-install-recommends openssh-client rsync procps && \
    rm -rf /var/lib/apt/lists/*

WORKDIR /apet
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY trials trials
COPY workers workers
COPY orchestrator orchestrator
RUN pip install --no-cache-dir -c constraints.txt '.[cluster,quickstart]' && rm -rf build *.egg-info

ENV RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
WORKDIR /root
CMD ["apet", "--help"]
