package updater

import (
	"context"

	"github.com/tranquil-iot/tranquil/sdk/updater/proto"
)

func (s *server) Save(ctx context.Context, r *proto.SaveRequest) (*proto.SaveResponse, error) {
	u, err := optional[UpdaterWithState](s.u)
	if err != nil {
		return nil, err
	}
	return call(ctx, s, "Save", r.Component, nothing(&proto.SaveResponse{}, func() error {
		return u.Save(ctx, SaveRequest{r.Component, r.Dir, r.Snapshot})
	}))
}

func (s *server) Apply(ctx context.Context, r *proto.ApplyRequest) (*proto.ApplyResponse, error) {
	u, err := optional[UpdaterWithState](s.u)
	if err != nil {
		return nil, err
	}
	return call(ctx, s, "Apply", r.Component, nothing(&proto.ApplyResponse{}, func() error {
		return u.Apply(ctx, ApplyRequest{r.Component, r.Dir})
	}))
}

func (s *server) TakeBack(ctx context.Context, r *proto.TakeBackRequest) (*proto.TakeBackResponse, error) {
	u, err := optional[UpdaterWithOrigin](s.u)
	if err != nil {
		return nil, err
	}
	return call(ctx, s, "TakeBack", r.Component, nothing(&proto.TakeBackResponse{}, func() error {
		return u.TakeBack(ctx, TakeBackRequest{r.Component, r.Dir})
	}))
}

func (s *server) Snapshot(ctx context.Context, r *proto.SnapshotRequest) (*proto.SnapshotResponse, error) {
	u, err := optional[UpdaterWithSnapshot](s.u)
	if err != nil {
		return nil, err
	}
	return call(ctx, s, "Snapshot", r.Component, nothing(&proto.SnapshotResponse{}, func() error {
		return u.Snapshot(ctx, SnapshotRequest{r.Component, r.Dir})
	}))
}

func (s *server) Quiesce(ctx context.Context, r *proto.QuiesceRequest) (*proto.QuiesceResponse, error) {
	u, err := optional[UpdaterWithQuiesce](s.u)
	if err != nil {
		return nil, err
	}
	return call(ctx, s, "Quiesce", r.Component, nothing(&proto.QuiesceResponse{}, func() error {
		return u.Quiesce(ctx, QuiesceRequest{r.Component})
	}))
}

func (s *server) Resume(ctx context.Context, r *proto.ResumeRequest) (*proto.ResumeResponse, error) {
	u, err := optional[UpdaterWithQuiesce](s.u)
	if err != nil {
		return nil, err
	}
	return call(ctx, s, "Resume", r.Component, nothing(&proto.ResumeResponse{}, func() error {
		return u.Resume(ctx, ResumeRequest{r.Component})
	}))
}

func (s *server) Probe(ctx context.Context, r *proto.ProbeRequest) (*proto.ProbeResponse, error) {
	u, err := optional[UpdaterWithProbe](s.u)
	if err != nil {
		return nil, err
	}
	return call(ctx, s, "Probe", r.Component, func() (*proto.ProbeResponse, error) {
		a, err := u.Probe(ctx, ProbeRequest{r.Component})
		return &proto.ProbeResponse{Healthy: a.Healthy, Reason: a.Reason}, err
	})
}

func (s *server) Status(ctx context.Context, r *proto.StatusRequest) (*proto.StatusResponse, error) {
	u, err := optional[UpdaterWithStatus](s.u)
	if err != nil {
		return nil, err
	}
	return call(ctx, s, "Status", r.Component, func() (*proto.StatusResponse, error) {
		a, err := u.Status(ctx, StatusRequest{r.Component})
		return &proto.StatusResponse{
			Version: a.Version, Running: a.Running, Restarts: int64(a.Restarts), Handle: handleToProto(a.Handle),
			NoState: a.NoState,
		}, err
	})
}

func (s *server) Confirm(ctx context.Context, r *proto.ConfirmRequest) (*proto.ConfirmResponse, error) {
	u, err := optional[UpdaterWithConfirm](s.u)
	if err != nil {
		return nil, err
	}
	return call(ctx, s, "Confirm", r.Component, nothing(&proto.ConfirmResponse{}, func() error {
		return u.Confirm(ctx, ConfirmRequest{r.Component})
	}))
}
