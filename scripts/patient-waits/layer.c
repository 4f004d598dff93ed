/* A Vulkan layer for checks on drivers in software: a wait on a timeline semaphore ends when it is reached, however long that takes.
 *
 * wgpu-core 30.0.1 panics in the thread that polls (`Device::maintain`, "If the queue is empty, the current submission index ...")
 * where a wait with a time limit, which CubeCL makes of a second, runs out just before the work is done: between its look at the fence
 * and its look at the queue another thread empties the queue. A driver that compiles each kernel at its first launch takes longer than a
 * second often. With this layer no limit runs out; whoever starts the program bounds its time instead. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

#define EXPORT __attribute__((visibility("default")))
#define MOST_DEVICES 64

static PFN_vkGetInstanceProcAddr next_instance;
static struct {
  VkDevice device;
  PFN_vkGetDeviceProcAddr next;
  PFN_vkWaitSemaphores wait;
} devices[MOST_DEVICES];
static int made;

static VkResult VKAPI_CALL wait_semaphores(VkDevice device, const VkSemaphoreWaitInfo *info, uint64_t timeout) {
  for (int at = 0; at < made; at++)
    if (devices[at].device == device) return devices[at].wait(device, info, timeout == 0 ? 0 : UINT64_MAX);
  return VK_ERROR_DEVICE_LOST;
}

static PFN_vkVoidFunction VKAPI_CALL device_proc(VkDevice device, const char *name) {
  if (strcmp(name, "vkGetDeviceProcAddr") == 0) return (PFN_vkVoidFunction)device_proc;
  if (strcmp(name, "vkWaitSemaphores") == 0 || strcmp(name, "vkWaitSemaphoresKHR") == 0)
    return (PFN_vkVoidFunction)wait_semaphores;
  for (int at = 0; at < made; at++)
    if (devices[at].device == device) return devices[at].next(device, name);
  return NULL;
}

static VkResult VKAPI_CALL create_device(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                                         const VkAllocationCallbacks *allocator, VkDevice *device) {
  VkLayerDeviceCreateInfo *link = (VkLayerDeviceCreateInfo *)info->pNext;
  while (link && !(link->sType == VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO && link->function == VK_LAYER_LINK_INFO))
    link = (VkLayerDeviceCreateInfo *)link->pNext;
  if (!link || made == MOST_DEVICES) return VK_ERROR_INITIALIZATION_FAILED;
  PFN_vkGetInstanceProcAddr instance_proc = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
  PFN_vkGetDeviceProcAddr next = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;
  PFN_vkCreateDevice create = (PFN_vkCreateDevice)instance_proc(NULL, "vkCreateDevice");
  VkResult result = create(physical, info, allocator, device);
  if (result != VK_SUCCESS) return result;
  PFN_vkWaitSemaphores wait = (PFN_vkWaitSemaphores)next(*device, "vkWaitSemaphores");
  if (!wait) wait = (PFN_vkWaitSemaphores)next(*device, "vkWaitSemaphoresKHR");
  devices[made].device = *device;
  devices[made].next = next;
  devices[made].wait = wait;
  made++;
  return VK_SUCCESS;
}

static VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *info, const VkAllocationCallbacks *allocator,
                                           VkInstance *instance) {
  VkLayerInstanceCreateInfo *link = (VkLayerInstanceCreateInfo *)info->pNext;
  while (link && !(link->sType == VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO && link->function == VK_LAYER_LINK_INFO))
    link = (VkLayerInstanceCreateInfo *)link->pNext;
  if (!link) return VK_ERROR_INITIALIZATION_FAILED;
  PFN_vkGetInstanceProcAddr next = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;
  PFN_vkCreateInstance create = (PFN_vkCreateInstance)next(NULL, "vkCreateInstance");
  VkResult result = create(info, allocator, instance);
  if (result == VK_SUCCESS) next_instance = next;
  return result;
}

static PFN_vkVoidFunction VKAPI_CALL instance_proc(VkInstance instance, const char *name) {
  if (strcmp(name, "vkGetInstanceProcAddr") == 0) return (PFN_vkVoidFunction)instance_proc;
  if (strcmp(name, "vkCreateInstance") == 0) return (PFN_vkVoidFunction)create_instance;
  if (strcmp(name, "vkCreateDevice") == 0) return (PFN_vkVoidFunction)create_device;
  if (strcmp(name, "vkGetDeviceProcAddr") == 0) return (PFN_vkVoidFunction)device_proc;
  return next_instance ? next_instance(instance, name) : NULL;
}

EXPORT VKAPI_ATTR VkResult VKAPI_CALL vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *version) {
  if (version->loaderLayerInterfaceVersion < 2) return VK_ERROR_INITIALIZATION_FAILED;
  version->loaderLayerInterfaceVersion = 2;
  version->pfnGetInstanceProcAddr = instance_proc;
  version->pfnGetDeviceProcAddr = device_proc;
  version->pfnGetPhysicalDeviceProcAddr = NULL;
  return VK_SUCCESS;
}
