{
  userPackages = [ "htop" "ripgrep" ];
  environment.systemPackages = [ "tmux" ];
  initialPassword = "hunter2-hunter2";
}
