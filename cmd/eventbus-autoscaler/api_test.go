package main

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	scalePath = "/apis/apps/v1/namespaces/photos/deployments/event-bus-service/scale"
	hpaPath   = "/apis/autoscaling/v2/namespaces/photos/horizontalpodautoscalers"
)

// fakeAPI is as much of Kubernetes as an autoscaler talks to: over TLS with an authority of its own, with the shapes,
// versions and refusals of the real one.
type fakeAPI struct {
	*httptest.Server
	dir string // ca.crt and token

	mu              sync.Mutex
	token           string
	wanted, present int
	follows         bool // present becomes wanted at once
	version         int
	conflicts       int // of the next PUTs
	puts            int
	hpas            []string // items, JSON
	hpaStatus       int      // instead of 200
	override        http.HandlerFunc
}

func newFakeAPI(t *testing.T, replicas int) *fakeAPI {
	t.Helper()
	f := &fakeAPI{dir: t.TempDir(), token: "first-token", wanted: replicas, present: replicas, follows: true, version: 100}
	f.Server = httptest.NewUnstartedServer(f)
	f.Server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that are meant to fail
	f.Server.StartTLS()
	t.Cleanup(f.Server.Close)
	f.write(t, "ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw})))
	f.write(t, "token", f.token+"\n")
	return f
}

func (f *fakeAPI) write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f *fakeAPI) config() kubernetesConfig {
	return kubernetesConfig{
		url: f.URL, caFile: filepath.Join(f.dir, "ca.crt"), tokenFile: filepath.Join(f.dir, "token"),
		namespace: "photos", deployment: "event-bus-service",
	}
}

// client is one of the API that is closed when the test ends.
func (f *fakeAPI) client(t *testing.T) *kubernetes {
	t.Helper()
	k, err := newKubernetes(f.config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

// with changes or reads the state.
func (f *fakeAPI) with(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	override := f.override
	f.mu.Unlock()
	if override != nil {
		override(w, r)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case r.Header.Get("Authorization") != "Bearer "+f.token:
		refuse(w, http.StatusUnauthorized, "Unauthorized", "Unauthorized")
	case r.URL.Path == scalePath && r.Method == http.MethodGet:
		f.answerScale(w)
	case r.URL.Path == scalePath && r.Method == http.MethodPut:
		f.putScale(w, r)
	case r.URL.Path == hpaPath && r.Method == http.MethodGet:
		f.listHPAs(w, r)
	default:
		refuse(w, http.StatusNotFound, "NotFound", "the server could not find the requested resource")
	}
}

// answerScale has the shape that kubectl get --raw shows: with 0 replicas, spec is empty.
func (f *fakeAPI) answerScale(w http.ResponseWriter) {
	spec := ""
	if f.wanted > 0 {
		spec = fmt.Sprintf(`"replicas":%d`, f.wanted)
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"kind":"Scale","apiVersion":"autoscaling/v1","metadata":{"name":"event-bus-service","namespace":"photos",`+
		`"uid":"6f4ad1d5-0000-4a0e-9a61-000000000001","resourceVersion":"%d","creationTimestamp":"2026-01-02T03:04:05Z"},`+
		`"spec":{%s},"status":{"replicas":%d,"selector":"app=event-bus-service"}}`, f.version, spec, f.present)
}

func (f *fakeAPI) putScale(w http.ResponseWriter, r *http.Request) {
	f.puts++
	var got struct {
		Kind, APIVersion string
		Metadata         struct{ Name, Namespace, UID, ResourceVersion string }
		Spec             struct{ Replicas *int }
	}
	body, _ := io.ReadAll(r.Body)
	switch err := json.Unmarshal(body, &got); {
	case err != nil || r.Header.Get("Content-Type") != "application/json" || got.Kind != "Scale" || got.APIVersion != "autoscaling/v1" ||
		got.Metadata.Name != "event-bus-service" || got.Metadata.Namespace != "photos" || got.Metadata.UID == "" || got.Spec.Replicas == nil:
		refuse(w, http.StatusBadRequest, "BadRequest", "not a Scale: "+string(body))
		return
	case f.conflicts > 0:
		f.conflicts--
		f.version++ // somebody was faster
	}
	if got.Metadata.ResourceVersion != strconv.Itoa(f.version) {
		refuse(w, http.StatusConflict, "Conflict", `Operation cannot be fulfilled on deployments.apps "event-bus-service": the object has been modified; please apply your changes to the latest version and try again`)
		return
	}
	f.wanted = *got.Spec.Replicas
	if f.follows {
		f.present = f.wanted
	}
	f.version++
	f.answerScale(w)
}

func (f *fakeAPI) listHPAs(w http.ResponseWriter, r *http.Request) {
	if f.hpaStatus != 0 {
		refuse(w, f.hpaStatus, "Forbidden", `horizontalpodautoscalers.autoscaling is forbidden: User "system:serviceaccount:photos:event-bus-autoscaler" cannot list resource`)
		return
	}
	// one on a page
	at, _ := strconv.Atoi(r.URL.Query().Get("continue"))
	next, item := "", ""
	if at < len(f.hpas) {
		item = f.hpas[at]
	}
	if at+1 < len(f.hpas) {
		next = strconv.Itoa(at + 1)
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"kind":"HorizontalPodAutoscalerList","apiVersion":"autoscaling/v2","metadata":{"resourceVersion":"9","continue":"%s"},"items":[%s]}`, next, item)
}

func hpa(name, kind, target string) string {
	return fmt.Sprintf(`{"metadata":{"name":"%s","namespace":"photos"},"spec":{"scaleTargetRef":{"kind":"%s","name":"%s","apiVersion":"apps/v1"},"minReplicas":2,"maxReplicas":10},"status":{"currentReplicas":3}}`, name, kind, target)
}

// refuse answers with a Status, as Kubernetes does.
func refuse(w http.ResponseWriter, code int, reason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "metadata": map[string]any{}, "status": "Failure", "message": message, "reason": reason, "code": code})
}

// wantError complains unless err says all of that, and has nothing of the token.
func wantError(t *testing.T, err error, want ...string) {
	t.Helper()
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("got error %v, want %q in it", err, w)
		}
	}
	if err != nil && strings.Contains(err.Error(), "first-token") {
		t.Errorf("the error has the token in it: %v", err)
	}
}
