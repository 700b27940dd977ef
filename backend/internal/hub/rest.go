package hub

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// maxBody bounds a request of the back end: a whole twin with metadata is far below.
const maxBody = 512 << 10

// serveHTTP serves the back end until ctx is done, which ends event streams too.
func (h *Hub) serveHTTP(ctx context.Context) error {
	server := &http.Server{
		Handler:           h.routes(h.audit),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      time.Minute, // event streams set their own
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(h.log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withLeaving,
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			server.Close()
		}
	})
	err := server.Serve(h.http)
	if !stop() {
		<-closed
	}
	return err
}

// Handler is what serves the back end, for other parts of the same process. audit is nil where they write down themselves
// what they change.
func (h *Hub) Handler(audit Audit) http.Handler { return h.routes(audit) }

// routes is Azure's REST interface, as far as this hub has it, and the event stream.
func (h *Hub) routes(audit Audit) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, needed right, handler handler) {
		mux.Handle(pattern, h.allow(needed, audited(audit, pattern, handler)))
	}
	for _, path := range []string{"/devices/{id}", "/devices/{id}/modules/{module}"} {
		handle("PUT "+path, registryWrite, h.putDevice)
		handle("GET "+path, registryRead, h.getDevice)
		handle("DELETE "+path, registryWrite, h.deleteDevice)
		handle("POST "+path+"/messages/deviceBound", serviceConnect, h.sendMessage)
	}
	handle("GET /devices/{id}/modules", registryRead, h.listModules)
	handle("GET /devices/{$}", registryRead, h.listDevices)
	handle("GET /devices", registryRead, h.listDevices)
	handle("POST /devices", registryWrite, h.changeMany)
	handle("POST /devices/{$}", registryWrite, h.changeMany)
	handle("POST /devices/query", serviceConnect, h.queryDevices)
	handle("DELETE /devices/{id}/commands", serviceConnect, h.purgeMessages)
	handle("GET /messages/serviceBound/feedback", serviceConnect, h.readFeedback)
	handle("DELETE /messages/serviceBound/feedback/{token}", serviceConnect, h.completeFeedback)
	handle("POST /messages/serviceBound/feedback/{token}/abandon", serviceConnect, h.abandonFeedback)
	handle("GET /statistics/devices", registryRead, h.countDevices)
	handle("GET /statistics/service", serviceConnect, h.countConnections)
	for _, path := range []string{"/twins/{id}", "/twins/{id}/modules/{module}"} {
		handle("GET "+path, serviceConnect, h.getTwin)
		handle("PATCH "+path, serviceConnect, h.updateTwin)
		handle("PUT "+path, serviceConnect, h.replaceTwin)
		handle("POST "+path+"/methods", serviceConnect, h.callMethod)
	}
	mux.HandleFunc("GET /$iothub/websocket", h.serveWebSocket)
	handle("PUT /jobs/v2/{job}", serviceConnect, h.createJob)
	handle("GET /jobs/v2/{job}", serviceConnect, h.getJob)
	handle("POST /jobs/v2/{job}/cancel", serviceConnect, h.cancelJob)
	handle("GET /jobs/v2/query", serviceConnect, h.listJobs)
	handle("PUT /configurations/{configuration}", serviceConnect|registryWrite, h.putConfiguration)
	handle("GET /configurations/{configuration}", registryRead, h.getConfiguration)
	handle("DELETE /configurations/{configuration}", serviceConnect|registryWrite, h.deleteConfiguration)
	handle("GET /configurations", registryRead, h.listConfigurations)
	handle("POST /configurations/testQueries", registryRead, h.testQueries)
	handle("POST /devices/{id}/applyConfigurationContent", serviceConnect|registryWrite, h.applyContent)
	handle("GET /api/v1/events", serviceConnect, h.streamEvents)
	handle("GET /api/v1/history/{id}", serviceConnect, h.getHistory)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	return mux
}

// handler answers a request of a policy with the rights allowed; an error becomes Azure's error body.
type handler func(w http.ResponseWriter, r *http.Request, allowed right) error

func (h *Hub) allow(needed right, handle handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		allowed, err := h.authenticateService(r, needed)
		if err == nil {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			err = handle(w, r, allowed)
		}
		if err != nil {
			err = named(r, err)
			if r.Context().Err() != nil { // whoever asked has gone, or this hub ends
				h.log.Debug("request is given up", "method", r.Method, "path", r.URL.Path, "remote", r.RemoteAddr, "cause", err)
				writeError(w, twin.ServerError)
				return
			}
			h.log.Warn("request is refused", "method", r.Method, "path", r.URL.Path, "remote", r.RemoteAddr, "cause", err)
			writeError(w, h.refusal(err))
		}
	})
}

// identity is the id of the device, or of the module, that a path names.
func identity(r *http.Request) string {
	return username{r.PathValue("id"), r.PathValue("module")}.id()
}

// named gives an error about a device the name that it has about a module.
func named(r *http.Request, err error) error {
	switch {
	case r.PathValue("module") == "":
	case errors.Is(err, twin.DeviceNotFound):
		return twin.ModuleNotFound
	case errors.Is(err, twin.DeviceExists):
		return twin.ModuleExists
	}
	return err
}

// refusal is what outsiders may know of an error: its code, and the text only if it is theirs.
func (h *Hub) refusal(err error) *twin.Error {
	if e, ok := errors.AsType[*twin.Error](err); ok {
		return e
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return twin.TooLarge.With("the body is larger than %d bytes", maxBody)
	}
	h.log.Error("request failed", "error", err)
	return twin.ServerError
}

// writeError writes the body that SDKs take apart at ':' and ';'.
func writeError(w http.ResponseWriter, e *twin.Error) {
	w.Header().Set("iothub-errorcode", e.Name)
	writeJSON(w, e.Code/1000, map[string]string{
		"Message":          errorMessage(e),
		"ExceptionMessage": "Tracking ID:" + newTracking(),
	})
}

// errorMessage of a method that a device has not answered is JSON, as IoT Hub has it.
func errorMessage(e *twin.Error) string {
	switch e.Code {
	case twin.DeviceNotOnline.Code, twin.DeviceClosed.Code, twin.NoAnswer.Code:
		text, _ := json.Marshal(map[string]any{ // of plain values only
			"errorCode": e.Code, "trackingId": newTracking(), "message": e.Message, "timestampUtc": time.Now().UTC(),
		})
		return string(text)
	}
	return "ErrorCode:" + e.Name + ";" + e.Message
}

func writeJSON(w http.ResponseWriter, status int, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(text) // a client that is gone needs no answer
	return nil
}

func newTracking() string {
	return newKey()[:16] + "-TimeStamp:" + time.Now().UTC().Format(time.RFC3339)
}

func readObject(r *http.Request) (map[string]any, error) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	return twin.Decode(text)
}

// ifMatch is the request's If-Match without its quotes: an etag, "*", or "" without the header.
func ifMatch(r *http.Request) string { return strings.Trim(r.Header.Get("If-Match"), `"`) }

// matchETag compares an If-Match: without one everything goes.
func matchETag(wanted, etag string) error {
	if wanted != "" && wanted != "*" && wanted != etag {
		return twin.PreconditionFailed
	}
	return nil
}
