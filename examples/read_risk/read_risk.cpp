// Says whether to go on, judged by PRO's risk. Denies unless a fresh and valid Risk allows it.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "pro_ros/msg/risk.hpp"
#include "rclcpp/rclcpp.hpp"

using pro_ros::msg::Risk;
using std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr float kLimit = 0.5f;   // highest risk within the longest horizon at which the robot goes on
constexpr auto kMaxAge = 500ms;  // longest time without a new valid risk: a few periods of the monitor

// Opens only while valid risks with advancing numbers come in, and the newest one is low.
class RiskGate {
 public:
  explicit RiskGate(rclcpp::Node& node, const std::string& topic = "/pro/risk") {
    subscription_ = node.create_subscription<Risk>(
        topic, 1, [this](Risk::ConstSharedPtr risk) { hear(risk); });
  }

  // Empty if the robot may go on.
  std::string reason_to_stop() const {
    if (!newest_) return "no valid risk";
    if (steady_clock::now() - heard_ > kMaxAge) return "the risk is old";
    if (newest_->alarm) return "alarm";
    if (newest_->risk.empty() || !(newest_->risk.back() < kLimit)) return "the risk is high";  // a NaN, too
    return "";
  }

  float risk() const { return newest_->risk.back(); }

 private:
  void hear(const Risk::ConstSharedPtr& risk) {
    const bool advanced = sequence_ && risk->sequence > *sequence_;
    sequence_ = risk->sequence;  // also after a restart of the monitor, when it goes back
    const bool valid = risk->validity & Risk::VALIDITY_VALID;
    newest_ = advanced && valid ? risk : nullptr;
    heard_ = steady_clock::now();  // nobody sets it
  }

  rclcpp::Subscription<Risk>::SharedPtr subscription_;
  Risk::ConstSharedPtr newest_;
  steady_clock::time_point heard_;
  std::optional<uint64_t> sequence_;
};

int main(int argc, char** argv) {
  rclcpp::init(argc, argv);
  auto node = std::make_shared<rclcpp::Node>("read_risk");
  RiskGate gate(*node);
  // A wall timer goes by the steady clock: one of ROS time stands still when /clock does.
  auto timer = node->create_wall_timer(100ms, [&gate]() {
    const std::string reason = gate.reason_to_stop();
    if (reason.empty()) {
      std::printf("go on: %.2f\n", gate.risk());
    } else {
      std::printf("stop: %s\n", reason.c_str());
    }
    std::fflush(stdout);
  });
  rclcpp::spin(node);
  rclcpp::shutdown();
  return 0;
}
