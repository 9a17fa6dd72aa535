# syntax=docker/dockerfile:1
# The service as one static binary in an image that has nothing else: no shell, no package manager, no root.
#
#     docker build -t photo-management/event-bus-service .

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
# The modules are a layer of their own: it is made anew only when they change.
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
# Set by the builder for each platform that is asked for; a default here would win over it.
ARG TARGETOS TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags="-s -w" -o /out/ ./cmd/eventbus ./cmd/eventbus-autoscaler

# Distroless has what a static binary still needs: certificates, time zones, and a user that is not root (65532).
FROM gcr.io/distroless/static-debian12:nonroot
LABEL org.opencontainers.image.title="Event Bus Service" \
      org.opencontainers.image.description="Real-time events for Socket.IO front-ends" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /out/eventbus /out/eventbus-autoscaler /usr/local/bin/
WORKDIR /app
USER 65532:65532
# Socket.IO and the demo page for the world; health, metrics and the API for you.
EXPOSE 3003 3004
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=40s --retries=3 CMD ["/usr/local/bin/eventbus", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/eventbus"]
CMD ["serve"]
