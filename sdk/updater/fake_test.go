package updater

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// fake behaves as the component's name says and echoes what it was asked.
type fake struct{ env Environment }

func (f *fake) Stage(ctx context.Context, r StageRequest) (StageResponse, error) {
	data := strings.Join([]string{r.Component, r.Version, r.Artifact, r.MediaType, string(r.Settings)}, " ")
	switch r.Component {
	case "read":
		content, err := os.ReadFile(r.Artifact)
		return StageResponse{Handle{1, content}}, err
	case "retry":
		return StageResponse{}, fmt.Errorf("engine is busy: %w", ErrRetry)
	case "reboot":
		return StageResponse{}, fmt.Errorf("slot B is written: %w", ErrReboot)
	case "fail":
		return StageResponse{}, fmt.Errorf("disk is full")
	case "panic":
		panic("oh no")
	case "die":
		os.Exit(3)
	case "huge":
		data = strings.Repeat("x", MaxHandle+1)
	case "wait":
		<-ctx.Done()
		return StageResponse{}, ctx.Err()
	case "stuck":
		select {}
	}
	return StageResponse{Handle{7, []byte(data)}}, nil
}

func (f *fake) Unstage(_ context.Context, r UnstageRequest) error {
	return fmt.Errorf("%s %s %v", r.Component, r.Version, r.Handle.IsZero())
}

func (f *fake) Switch(_ context.Context, r SwitchRequest) error {
	return fmt.Errorf("%s %d %s", r.Component, r.Handle.Version, r.Handle.Data)
}

func (f *fake) Start(_ context.Context, r StartRequest) error { return fmt.Errorf("%s", r.Component) }

func (f *fake) Stop(_ context.Context, r StopRequest) (StopResponse, error) {
	return StopResponse{Forced: r.Grace == 5}, nil
}

func (f *fake) Save(_ context.Context, r SaveRequest) error {
	return fmt.Errorf("save %s %s%s", r.Component, r.Dir, r.Snapshot)
}

func (f *fake) Apply(_ context.Context, r ApplyRequest) error {
	return fmt.Errorf("apply %s %s", r.Component, r.Dir)
}

func (f *fake) TakeBack(_ context.Context, r TakeBackRequest) error {
	return fmt.Errorf("take back %s %s", r.Component, r.Dir)
}

func (f *fake) Snapshot(_ context.Context, r SnapshotRequest) error {
	return fmt.Errorf("snapshot %s %s", r.Component, r.Dir)
}

func (f *fake) Quiesce(_ context.Context, r QuiesceRequest) error {
	return fmt.Errorf("quiesce %s", r.Component)
}

func (f *fake) Resume(_ context.Context, r ResumeRequest) error {
	return fmt.Errorf("resume %s", r.Component)
}

func (f *fake) Confirm(_ context.Context, r ConfirmRequest) error {
	return fmt.Errorf("confirm %s", r.Component)
}

func (f *fake) Probe(_ context.Context, r ProbeRequest) (ProbeResponse, error) {
	return ProbeResponse{Healthy: true, Reason: r.Component}, nil
}

// Status answers with the updater's environment.
func (f *fake) Status(_ context.Context, r StatusRequest) (StatusResponse, error) {
	switch r.Component {
	case "files":
		files, _ := os.ReadDir("/proc/self/fd")
		var open []string
		for _, file := range files {
			name, _ := os.Readlink("/proc/self/fd/" + file.Name())
			open = append(open, name)
		}
		return StatusResponse{Version: strings.Join(open, " ")}, nil
	case "user":
		groups, _ := os.Getgroups()
		return StatusResponse{Version: fmt.Sprint(os.Getuid(), os.Getgid(), groups)}, nil
	case "env":
		return StatusResponse{Version: f.env.Data, Running: true, Restarts: 3, NoState: true}, nil
	case "variables":
		return StatusResponse{Version: strings.Join(os.Environ(), "\n")}, nil
	}
	return StatusResponse{}, nil
}

// stateless is a fake without the rest.
type stateless struct{ fake Updater }

func (s stateless) Stage(ctx context.Context, r StageRequest) (StageResponse, error) {
	return s.fake.Stage(ctx, r)
}

func (s stateless) Unstage(ctx context.Context, r UnstageRequest) error {
	return s.fake.Unstage(ctx, r)
}

func (s stateless) Switch(ctx context.Context, r SwitchRequest) error { return s.fake.Switch(ctx, r) }

func (s stateless) Start(ctx context.Context, r StartRequest) error { return s.fake.Start(ctx, r) }

func (s stateless) Stop(ctx context.Context, r StopRequest) (StopResponse, error) {
	return s.fake.Stop(ctx, r)
}

func (s stateless) Status(ctx context.Context, r StatusRequest) (StatusResponse, error) {
	return s.fake.(*fake).Status(ctx, r)
}
