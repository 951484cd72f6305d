// cluster is a whole single-node Kubernetes in one file: cluster COMPONENT ARGS..., or COMPONENT ARGS... by a link of that name.
package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kcm "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// etcd serves one member until it is told to stop. The flags are those of the real etcd that the tests use.
func etcd() *cobra.Command {
	cfg := embed.NewConfig()
	cfg.LogLevel = "error"
	var client, peer string
	cmd := &cobra.Command{Use: "etcd", Args: cobra.NoArgs, SilenceUsage: true, RunE: func(*cobra.Command, []string) error {
		c, err := url.Parse(client)
		if err != nil {
			return err
		}
		p, err := url.Parse(peer)
		if err != nil {
			return err
		}
		cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*c}, []url.URL{*c}
		cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{*p}, []url.URL{*p}
		cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
		e, err := embed.StartEtcd(cfg)
		if err != nil {
			return err
		}
		defer e.Close()
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
		select {
		case <-stop:
			return nil
		case err := <-e.Err():
			return err
		}
	}}
	f := cmd.Flags()
	f.StringVar(&cfg.Dir, "data-dir", "etcd", "folder of the data")
	f.BoolVar(&cfg.UnsafeNoFsync, "unsafe-no-fsync", false, "lose data if the machine stops")
	f.StringVar(&client, "listen-client-urls", "http://127.0.0.1:2379", "URL for clients")
	f.StringVar(&peer, "listen-peer-urls", "http://127.0.0.1:2380", "URL for peers")
	for _, same := range []string{"advertise-client-urls", "initial-advertise-peer-urls", "initial-cluster"} {
		f.String(same, "", "follows from the others; accepted as etcd does")
	}
	f.StringVar(&cfg.LogLevel, "log-level", "error", "least severe level that is logged")
	return cmd
}

func main() {
	name := filepath.Base(os.Args[0])
	if name == "cluster" && len(os.Args) > 1 {
		name, os.Args = os.Args[1], os.Args[1:]
	}
	var cmd *cobra.Command
	switch strings.TrimPrefix(name, "kube-") {
	case "etcd":
		cmd = etcd()
	case "apiserver":
		cmd = apiserver.NewAPIServerCommand()
	case "controller-manager":
		cmd = kcm.NewControllerManagerCommand()
	case "scheduler":
		cmd = scheduler.NewSchedulerCommand()
	case "kubelet":
		cmd = kubelet.NewKubeletCommand(context.Background())
	case "proxy":
		cmd = proxy.NewProxyCommand()
	case "kubectl":
		cmd = kubectl.NewDefaultKubectlCommand()
	default:
		fmt.Fprintln(os.Stderr, "usage: cluster etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kubelet|kube-proxy|kubectl ...")
		os.Exit(2)
	}
	os.Exit(cli.Run(cmd))
}
